"""The system check of the database's collation, which decides when two addresses are one."""

from collections.abc import Sequence
from typing import Any

from allauth.account.models import EmailAddress
from django.core.checks import CheckMessage, Error, Tags, register
from django.db import connections

from apps.users.models import User

ADDRESS, LIKE_IT = "boss@corp.test", ("bóss@corp.test", "boss@córp.test", "boſs@corp.test")
# Of the column, or of the one that will be made.
COLLATION = (
    "SELECT COALESCE(MAX(character_set_name), @@character_set_database), COALESCE(MAX(collation_name),"
    " @@collation_database) FROM information_schema.columns"
    " WHERE table_schema = DATABASE() AND table_name = %s AND column_name = 'email'"
)
MESSAGE = "{table}.email has the collation {collation}, to which {address} and {other} are the same address."
HINT = (
    "The owner of one of them could take over the account of the other. For new tables, run\n"
    "ALTER DATABASE `{database}` CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n"
    "and for a table that exists,\n"
    "ALTER TABLE {table} MODIFY email {type} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL;"
)


@register(Tags.database, deploy=True)
def check_collations(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that email columns distinguish similar addresses. Only MySQL and MariaDB have collations that do not."""
    errors: list[CheckMessage] = []
    for connection in (connections[alias] for alias in databases or ()):
        for model in (User, EmailAddress) if connection.vendor == "mysql" else ():
            table, field = model._meta.db_table, model._meta.get_field("email")
            with connection.cursor() as cursor:
                cursor.execute(COLLATION, [table])
                charset, collation = cursor.fetchone()
                text = f"CONVERT(%s USING {charset}) COLLATE {collation}"
                same = [other for other in LIKE_IT if ask(cursor, f"SELECT {text} = {text}", other)]
            if same:
                message = MESSAGE.format(table=table, collation=collation, address=ADDRESS, other=same[0])
                names = {"database": connection.settings_dict["NAME"], "type": field.db_type(connection)}
                errors.append(Error(message, hint=HINT.format(table=table, **names), id="users.E001"))
    return errors


def ask(cursor: Any, query: str, other: str) -> bool:
    cursor.execute(query, [ADDRESS, other])
    return bool(cursor.fetchone()[0])
