"""A job for the tests whose work can be counted: one row, in a transaction that is as slow as the tests want it."""

import time

from django.db import connection, transaction

from apps.jobs.services import job

TABLES = "CREATE TABLE notes (text text); CREATE TABLE pace (busy real, idle real); INSERT INTO pace VALUES (0, 0)"


@job()
def note(text):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO notes VALUES (%s)", [text])
        cursor.execute("SELECT idle, pg_sleep(busy) FROM pace")
        time.sleep(cursor.fetchone()[0])
