"""What a deploy's database must be able to do for the accounts."""

import contextlib
import re
from urllib.parse import unquote, urlsplit

import pytest

from tests.twelve.processes import Deploy
from tests.twelve.servers import MariaDB

pytestmark = pytest.mark.prove

BLIND = "utf8mb4_general_ci"


def execute(url, statement):
    import MySQLdb

    parts = urlsplit(url)
    login = {"user": parts.username, "password": unquote(parts.password), "database": parts.path[1:]}
    with contextlib.closing(MySQLdb.connect(host=parts.hostname, port=parts.port, **login)) as connection:
        connection.cursor().execute(statement)


def test_a_collation_that_makes_two_addresses_one_fails_the_release(tmp_path):
    with MariaDB() as database:
        deploy = Deploy(tmp_path, DATABASE_URL=database.url)
        execute(database.url, f"ALTER DATABASE site CHARACTER SET utf8mb4 COLLATE {BLIND}")
        new = deploy.manage("release", check=False)
        assert new.returncode == 1
        assert f"users_user.email has the collation {BLIND}" in new.stderr
        assert f"account_emailaddress.email has the collation {BLIND}" in new.stderr
        assert "COLLATE utf8mb4_bin" in new.stderr
        assert "Nothing was changed" in new.stderr
        assert "Traceback" not in new.stderr

        execute(database.url, "ALTER DATABASE site CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
        deploy.manage("release")
        deploy.manage("release")

        execute(database.url, f"ALTER TABLE account_emailaddress MODIFY email varchar(254) COLLATE {BLIND} NOT NULL")
        grown = deploy.manage("release", check=False)
        assert grown.returncode == 1
        assert "users_user.email" not in grown.stderr
        assert deploy.manage("check", "--deploy", "--database", "default", check=False).returncode == 1
        deploy.manage("check", "--deploy")  # of no database
        execute(database.url, re.search("ALTER TABLE [^;]+", grown.stderr)[0])  # as the error says
        deploy.manage("release")
