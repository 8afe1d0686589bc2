"""Which migrations would break the release that still runs while they are applied, or that one rolls back to.

A migration whose author knows better says why: `safe_because = "no release since v41 reads it"` in its class.
What RunSQL and RunPython do is not seen.
"""

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import models
from django.db.migrations import operations as ops
from django.db.migrations.loader import MigrationLoader

GONE = (
    "the running release still uses {}. First release code that does not, which keeps it in the database by"
    " SeparateDatabaseAndState, nullable or with a db_default; drop it in a later release"
)
INDEX = (
    "it blocks writes while PostgreSQL builds the index: use config.migrations.AddIndexConcurrently, and atomic = False"
)


def project_apps() -> set[str]:
    """The labels of the apps whose migrations are written here."""
    return {app.label for app in apps.get_app_configs() if app.path.startswith(str(settings.BASE_DIR / "apps"))}


def found(labels: set[str]) -> Iterator[str]:
    """A line for each operation that would break the running release, and has no reason to stand."""
    loader = MigrationLoader(None)
    for key in sorted(loader.disk_migrations):
        migration = loader.disk_migrations[key]
        if key[0] not in labels or key not in loader.graph.nodes or str(getattr(migration, "safe_because", "")).strip():
            continue
        state, new = loader.project_state(key, at_end=False), set[str]()
        for operation in migration.operations:
            before = state.clone()
            for part in on_database(operation):
                if isinstance(part, ops.CreateModel):
                    new.add(part.name.lower())  # nobody uses it yet
                elif model_of(part) not in new and (why := broken_by(part, before, key[0])):
                    yield f"{migration}: {part.describe()}: {why}."
                part.state_forwards(key[0], before)
            operation.state_forwards(key[0], state)


def model_of(operation: Any) -> str:
    return next((getattr(operation, name).lower() for name in ("model_name", "name") if hasattr(operation, name)), "")


def on_database(operation: Any) -> list[Any]:
    """The operations that reach the database."""
    if not isinstance(operation, ops.SeparateDatabaseAndState):
        return [operation]
    return [part for inner in operation.database_operations for part in on_database(inner)]


def broken_by(operation: Any, state: Any, app: str) -> str:
    """Why the running release cannot live with this operation on a table that it uses, or nothing."""
    match operation:
        case ops.RemoveField() | ops.DeleteModel() | ops.RenameField() | ops.RenameModel() | ops.AlterModelTable():
            return GONE.format("the old column" if hasattr(operation, "model_name") else "the old table")
        case ops.AddField(field=field) if not (
            field.many_to_many or field.null or field.has_db_default() or field.generated
        ):
            return "the running release inserts no value for it: give the field a db_default, or null=True"
        case ops.AlterField(field=field):
            former = state.models[app, operation.model_name_lower].fields[operation.name]
            if former.db_column != field.db_column:
                return GONE.format("the old column")
            if former.null and not field.null:
                return "the running release may still write NULL: change it when no running release does"
            if former.has_db_default() and not field.has_db_default():
                return "the running release may still leave it out, and needs the db_default"
            return INDEX if indexed(field) and not indexed(former) else ""
        case ops.AddField(field=field) if indexed(field):
            return f"{INDEX}; give the field db_index=False"
        case AddIndexConcurrently():
            return ""
        case ops.AlterUniqueTogether(option_value=value) if not value:
            return ""
        case (
            ops.AddIndex()
            | ops.AlterUniqueTogether()
            | ops.AddConstraint(constraint=models.UniqueConstraint() | ExclusionConstraint())
        ):
            return INDEX
    return ""


def indexed(field: Any) -> bool:
    return field.db_index or field.unique
