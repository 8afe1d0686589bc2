"""A hundred thousand finished tasks slow neither a claim, nor the sweeper, nor the pruning, nor the pages of staff."""

from contextlib import closing

import psycopg
import pytest

from tests.twelve.processes import Deploy

pytestmark = pytest.mark.prove

ROWS = """
INSERT INTO twelve_task (task, queue, args, kwargs, status, due, published, sweep_at, token, attempts, worker_ids,
    error, errors, request_id, enqueued_at, finished_at)
SELECT 'apps.shop.tasks.remind', 'default', '[]', '{}', 'SUCCESSFUL', now(), true, now() - interval '1 hour', 1, 1, '',
    '', '[]', '', now(), now() - interval '1 day'
FROM generate_series(1, 100000)
"""
# Each does its work once, and the plans of its statements are printed. The admin counts the rows for its pages besides.
CODE = """
import io
from datetime import timedelta
from django.core.management import call_command
from django.db import connection
from django.utils import timezone
from twelve.admin import TaskAdmin
from twelve.models import TaskRecord
from twelve.tasks import table, worker

statements = []

def note(execute, sql, params, many, context):
    statements.append((sql, params))
    return execute(sql, params, many, context)

with connection.execute_wrapper(note):
    worker.claim(99999)
    table.sweep()
    table.prune(timezone.now() - timedelta(days=14))
    call_command("list_tasks", stdout=io.StringIO())
    list(TaskRecord.objects.order_by(*TaskAdmin.ordering)[: TaskAdmin.list_per_page])
    TaskRecord.objects.filter(unique_key="reminder:1").first()
with connection.cursor() as cursor:
    for sql, params in statements:
        cursor.execute(f"EXPLAIN {sql}", params)
        print(*[line for (line,) in cursor.fetchall()], "", sep="\\n")
"""


def test_no_statement_reads_the_finished_tasks(postgresql, tmp_path):
    with psycopg.connect(postgresql.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE many_rows")
    url = f"{postgresql.url.rpartition('/')[0]}/many_rows"
    with closing(Deploy(tmp_path, DATABASE_URL=url)) as deploy:
        deploy.manage("migrate", "--noinput", "--verbosity", "0")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(ROWS)
            connection.execute("ANALYZE twelve_task")
        plans = deploy.manage("shell", "--no-imports", "-c", CODE).stdout.strip().split("\n\n")
    assert len(plans) >= 8
    for plan in plans:
        assert "Index" in plan, plan
        assert "Seq Scan" not in plan, plan
