"""One site for a table of faults: web, worker and clock of the Procfile, which survive all of them."""

import time
import urllib.parse
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

from tests.twelve.events import events
from tests.twelve.processes import Deploy, Person, wait_until

PASSWORD = "a long enough passphrase"


class Site(Deploy):
    """A deploy whose tasks come back after 3 s."""

    def __init__(self, folder, **variables):
        super().__init__(
            folder, TASKS_LEASE_SECONDS="3",
            CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT="3", **variables,
        )  # fmt: skip
        self.manage("migrate", "--noinput", "--verbosity", "0")
        self.people = 0
        self.web, self.worker, self.clock = self.start_web(), self.start("worker"), self.start("clock")

    def restart(self, name, seconds=30, **variables):
        """Stop a process type, which takes so long at most, and start it with other variables, as a deploy does."""
        assert getattr(self, name).stop(seconds=seconds) == 0
        self.environment |= variables
        setattr(self, name, self.start_web() if name == "web" else self.start(name))

    def sign_up(self):
        """Somebody new signs up and sees the normal page; returns the task of the mail, the address and the seconds."""
        self.people += 1
        address = f"person{self.people}@example.com"
        person = Person(self.address)
        # As their proxy says: sign-ups are limited by address.
        person.opener.addheaders.append(("X-Forwarded-For", f"192.0.2.{self.people}"))
        begun = time.monotonic()
        person.post("/accounts/signup/", {"email": address, "password1": PASSWORD})
        assert address in person.page
        assert urllib.parse.urlsplit(person.url).path == "/accounts/confirm-email/"
        return self.latest(address=address, seconds=time.monotonic() - begun)

    def slow(self, seconds):
        """Enqueue work of so many seconds in a one-off process; returns its task and the file that counts its runs."""
        path = self.folder / f"runs-{len(list(self.folder.glob('runs-*')))}"
        code = f"from tests.twelve.services.work import *; slow.enqueue({str(path)!r}, {seconds})"
        self.manage("shell", "--no-imports", "-c", code)
        return self.latest(path=path)

    def latest(self, **more):
        ((pk,),) = self.sql("SELECT max(id) FROM twelve_task")
        return SimpleNamespace(pk=pk, **more)

    def row(self, task):
        """The row of a task: state, attempts and error."""
        ((state, attempts, error),) = self.sql(f"SELECT status, attempts, error FROM twelve_task WHERE id = {task.pk}")
        return SimpleNamespace(state=state, attempts=attempts, error=error)

    def wait_for(self, task, state, seconds=150, **row):
        def reached():
            found = vars(self.row(task))
            return found if found | {"state": state, **row} == found else None

        return SimpleNamespace(
            **wait_until(reached, seconds, lambda: f"{state}: {self.row(task)}\n{self.worker.text}\n{self.clock.text}")
        )

    def wait_done_once(self, task):
        """Wait until the task is done, and see that it was begun once, and ended once by all workers there were."""
        assert self.wait_for(task, "SUCCESSFUL").attempts == 1
        self.event(task, "done")
        assert self.outcomes(task) == ["done"]

    def attempts(self, task):
        """The events of the attempts of a task, of all the workers there were."""
        logged = [event for process in self.processes for event in events(process.text)]
        return [event for event in logged if event.get("id") == task.pk and "outcome" in event]

    def outcomes(self, task):
        """How each attempt ended, in order; the event of the last one follows its row."""
        last = self.row(task).attempts
        wait_until(lambda: last in [event["attempt"] for event in self.attempts(task)], 30, lambda: self.worker.text)
        return [event["outcome"] for event in self.attempts(task)]

    def event(self, task, outcome):
        """The last event of an attempt that ended so."""

        def found():
            return [event for event in self.attempts(task) if event["outcome"] == outcome]

        return wait_until(found, 60, lambda: f"{outcome} of {task}\n{self.worker.text}")[-1]

    def unpublished(self, task):
        """What the web process logged of a task that it could not publish."""
        mark = f"task {task.pk} not published"
        return [event["message"] for event in events(self.web.text) if mark in event["message"]]

    def wait_for_publishing(self):
        """Wait until the web process asks the broker again, which it does not for 5 s after a failure."""
        failures = [event["timestamp"] for event in events(self.web.text) if "not published" in event["message"]]
        if failures:
            again = datetime.fromisoformat(failures[-1]) + timedelta(seconds=6)
            wait_until(lambda: datetime.now(UTC) > again, 30, lambda: self.web.text)

    def make_due(self, task):
        """Spare the test the pause before the next attempt; returns how long it would have been, in seconds."""
        ((pause,),) = self.sql(
            f"SELECT (julianday(due) - julianday('now')) * 86400 FROM twelve_task WHERE id = {task.pk}"
        )
        now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
        self.sql(f"UPDATE twelve_task SET due = {now}, sweep_at = {now} WHERE id = {task.pk}")
        return pause

    def assert_alive(self):
        """The processes run, and all that they have written is events, none of them of an uncaught error."""
        for process in (self.web, self.worker, self.clock):
            assert process.child.poll() is None, process.text
            assert not [event for event in events(process.text) if event["logger"] == "uncaught"]
