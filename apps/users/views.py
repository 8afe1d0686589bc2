from collections.abc import Callable
from functools import wraps
from typing import Any

from allauth.account.views import login
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django_htmx.http import HttpResponseClientRefresh


def all_or_nothing(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Run a view in a transaction, which a refusal rolls back as an exception does."""

    @wraps(view)
    @transaction.atomic
    def run(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.status_code >= 400:
            transaction.set_rollback(True)
        return response

    return run


def sign_in(request: HttpRequest) -> HttpResponse:
    """Show allauth's page. A request for a part of a page reloads the whole page, since the session has ended."""
    if request.htmx:  # type: ignore[attr-defined]
        return HttpResponseClientRefresh()
    return login(request)
