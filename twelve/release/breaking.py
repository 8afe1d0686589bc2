"""Find migrations that break the release which runs while they are applied, or the one that a rollback returns to.

A migration with a reason in its class is accepted: `safe_because = "no release since v41 reads it"`.
RunSQL and RunPython are not checked.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.apps import apps
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import models
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader

from twelve.env import env

STILL_USED = (
    "the running release still uses {}. First release code that does not use it, and keep it in the database with"
    " SeparateDatabaseAndState, nullable or with a db_default; drop it in a later release"
)
BLOCKING_INDEX = (
    "it blocks writes while PostgreSQL builds the index: use twelve.release.AddIndexConcurrently, and atomic = False"
)


def project_apps() -> set[str]:
    """Return the labels of the apps in the project's folder, without those of a virtual environment in it."""
    inside = [app for app in apps.get_app_configs() if Path(app.path).is_relative_to(env.base_dir)]
    return {app.label for app in inside if "site-packages" not in app.path}


def find_breaking(labels: set[str]) -> Iterator[str]:
    """Yield a line for each operation that would break the running release and whose migration has no reason."""
    loader = MigrationLoader(None)
    for key in sorted(loader.disk_migrations):
        migration = loader.disk_migrations[key]
        if key[0] not in labels or key not in loader.graph.nodes or str(getattr(migration, "safe_because", "")).strip():
            continue
        state, new = loader.project_state(key, at_end=False), set[str]()
        for operation in migration.operations:
            before = state.clone()
            for part in database_operations(operation):
                if isinstance(part, ops.CreateModel):
                    new.add(part.name.lower())  # no release uses it yet
                elif model_of(part) not in new and (reason := breaking_reason(part, before, key[0])):
                    yield f"{migration}: {part.describe()}: {reason}."
                part.state_forwards(key[0], before)
            operation.state_forwards(key[0], state)


def model_of(operation: Any) -> str:
    """Return the lower-case name of the operation's model."""
    return next((getattr(operation, name).lower() for name in ("model_name", "name") if hasattr(operation, name)), "")


def database_operations(operation: Any) -> list[Any]:
    """Return the operations that change the database."""
    if not isinstance(operation, ops.SeparateDatabaseAndState):
        return [operation]
    return [part for inner in operation.database_operations for part in database_operations(inner)]


def breaking_reason(operation: Any, state: Any, app: str) -> str:
    """Return why the operation breaks a release that uses its table, or nothing."""
    match operation:
        case ops.RemoveField() | ops.DeleteModel() | ops.RenameField() | ops.RenameModel() | ops.AlterModelTable():
            return STILL_USED.format("the old column" if hasattr(operation, "model_name") else "the old table")
        case ops.AddField(field=field) if not (
            field.many_to_many or field.null or field.has_db_default() or field.generated
        ):
            return "the running release inserts no value for it: give the field a db_default, or null=True"
        case ops.AlterField(field=field):
            former = state.models[app, operation.model_name_lower].fields[operation.name]
            if former.db_column != field.db_column:
                return STILL_USED.format("the old column")
            if former.null and not field.null:
                return "the running release may still write NULL: change it when no running release does"
            if former.has_db_default() and not field.has_db_default():
                return "the running release may still leave it out, and needs the db_default"
            return BLOCKING_INDEX if is_indexed(field) and not is_indexed(former) else ""
        case ops.AddField(field=field) if is_indexed(field):
            return f"{BLOCKING_INDEX}; give the field db_index=False"
        case AddIndexConcurrently():
            return ""
        case ops.AlterUniqueTogether(option_value=value) if not value:
            return ""
        case (
            ops.AddIndex()
            | ops.AlterUniqueTogether()
            | ops.AddConstraint(constraint=models.UniqueConstraint() | ExclusionConstraint())
        ):
            return BLOCKING_INDEX
    return ""


def is_indexed(field: Any) -> bool:
    return field.db_index or field.unique
