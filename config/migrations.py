"""Operations of migrations that leave the running release alone, whichever the database."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently as OnPostgreSQL
from django.db.migrations import AddIndex


class AddIndexConcurrently(OnPostgreSQL):
    """Writes go on while PostgreSQL builds the index, in a migration with `atomic = False`. Elsewhere AddIndex."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            AddIndex.database_forwards(self, app_label, schema_editor, from_state, to_state)
            return
        # A try that failed leaves an index of that name which is of no use.
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        postgresql = schema_editor.connection.vendor == "postgresql"
        operation: Any = super() if postgresql else super(OnPostgreSQL, self)
        operation.database_backwards(app_label, schema_editor, from_state, to_state)
