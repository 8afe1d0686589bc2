"""Operations of migrations that do not block the running release, on every database."""

from typing import Any

from django.contrib.postgres.operations import AddIndexConcurrently as OnPostgreSQL
from django.db.migrations import AddIndex


class AddIndexConcurrently(OnPostgreSQL):
    """Django's operation in a migration with `atomic = False`; on other databases than PostgreSQL, AddIndex."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            AddIndex.database_forwards(self, app_label, schema_editor, from_state, to_state)
            return
        # A failed attempt leaves an invalid index of that name.
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
        super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            AddIndex.database_backwards(self, app_label, schema_editor, from_state, to_state)
            return
        super().database_backwards(app_label, schema_editor, from_state, to_state)
