"""The settings that the rooms of twelve/services make of variables, without a process."""

from types import SimpleNamespace

from tests.twelve.processes import GOOD
from twelve.env import Env
from twelve.services import cache, database, mail, queue, storage, tls


def attach(variables, **limits):
    """Give these variables alone to every room; returns the settings, and the reader as `env`.

    `limits` are the database's, or `storage`, a dictionary of the storage's.
    """
    of_storage = limits.pop("storage", {})
    env = Env(dict(variables))
    env.debug = False
    policies = tls.from_environment(env)
    return SimpleNamespace(
        env=env,
        DATABASES=database.from_environment(policies.database, env, **limits),
        CACHES=cache.from_environment(policies.redis, env),
        MAILERS=mail.from_environment(policies.mail, env),
        CELERY=queue.from_environment(policies, env),
        STORAGES={"default": storage.from_environment(policies.s3, env, **of_storage)},
    )


def settings(**variables):
    """The settings of a config that is right but for these variables; it has to be right with them too."""
    attached = attach(GOOD | variables)
    assert attached.env.problems == []
    return attached


def without(name):
    """A right config without one variable."""
    return {key: value for key, value in GOOD.items() if key != name}


def complaints(variables):
    """What the reader says of the variables that are wrong, as text by the names of the variables."""
    return {problem.variable: str(problem) for problem in attach(variables).env.problems}
