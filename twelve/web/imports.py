"""Imports that the first requests of a web process need, made before its threads start."""

from importlib import import_module

from django.core.cache import caches
from django.template import engines
from django.utils.module_loading import import_string

from twelve.conf import settings


def import_for_requests() -> None:
    """Import what requests need first; connect to nothing.

    On Python 3.14 a thread that imports a module of a package waits for another thread that imports the package.
    Where the package imports that module itself, as redis does, they wait for each other: one of them fails with
    _DeadlockError, and its request with 500.

    Celery, Pillow and the clients of buckets are large, and most requests do without: they are imported when they
    are needed, by all threads in the same order. Celery and Kombu are imported by the one thread that publishes, unless
    an app has plain tasks of Celery: then here, with its URLs.
    """
    import_module(settings.ROOT_URLCONF)  # with the views and forms of all apps
    for alias in settings.CACHES:
        caches[alias]
    engines.all()  # with their template tags
    names = [settings.SESSION_SERIALIZER, settings.MESSAGE_STORAGE, *settings.AUTHENTICATION_BACKENDS]
    for name in filter(None, [*names, getattr(settings, "ACCOUNT_ADAPTER", "")]):  # allauth's
        import_string(name)
