"""Whatever the mail server does, the person sees the normal page; the mail comes once, or fails with its reason."""

import re
import threading

import pytest

from tests.twelve.networks import Proxy
from tests.twelve.processes import wait_until
from tests.twelve.servers import MailServer
from tests.twelve.services.faults import Site

pytestmark = pytest.mark.prove


class Moody(MailServer):
    """A mail server that takes no password, no sender or no mail, if a test says so."""

    right_password = True
    refuse_sender = refuse_data = ""

    def authenticate(self, *arguments):
        result = super().authenticate(*arguments)
        result.success &= self.right_password
        return result

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802
        envelope.mail_from = address
        return self.refuse_sender or "250 OK"

    async def handle_DATA(self, *arguments):  # noqa: N802
        return self.refuse_data or await super().handle_DATA(*arguments)


@pytest.fixture(scope="module")
def attached(tmp_path_factory):
    """A site behind a network to its mail server."""
    with Moody() as server, Proxy(server) as network:
        site = Site(tmp_path_factory.mktemp("site"), EMAIL_URL=network.url, MAIL_TIMEOUT="2")
        site.worker.wait_for("ready")
        site.server, site.network = server, network
        yield site
        site.close()


@pytest.fixture
def site(attached):
    yield attached
    attached.assert_alive()


def reset(site):
    """Mend all that may be broken."""
    site.server.thaw()
    site.server.refusals, site.server.right_password = {}, True
    site.server.refuse_sender = site.server.refuse_data = ""
    site.network.pass_on()


def mails_to(site, task):
    return [mail for mail in site.server.mails if mail.recipients == [task.address]]


def assert_delivered(site, task, times=1):
    """The mail came once; or more often, and is the same one to a mail program."""
    wait_until(lambda: len(mails_to(site, task)) >= times, 30, lambda: site.worker.text)
    site.wait_for(task, "SUCCESSFUL")
    assert len(mails_to(site, task)) == times
    assert len({mail.message["Message-ID"] for mail in mails_to(site, task)}) == 1
    assert site.sql(f"SELECT args FROM twelve_task WHERE id = {task.pk}") == [("[]",)]


def refuse(answer):
    """A fault: the server refuses the next recipient."""
    return lambda site: site.server.refuse(f"person{site.people + 1}@example.com", answer)


def set_on(**values):
    def set_them(site):
        for name, value in values.items():
            setattr(site.server, name, value)

    return set_them


def cut_in_data(site):
    """The connection dies in the middle of the mail."""

    def cut(chunk):
        if b"Subject:" not in chunk:
            return chunk
        threading.Thread(target=site.network.cut).start()
        return chunk[: len(chunk) // 2]

    site.network.change_request = cut


def stop(site):
    site.server.stop()


FAULTS = {
    "refused": (lambda site: site.network.refuse(), "ConnectionRefusedError"),
    "frozen": (lambda site: site.server.freeze(), "TimeoutError|timed out"),
    "silent": (lambda site: site.network.swallow(), "TimeoutError|timed out"),
    "garbage": (lambda site: site.network.garbage(), "SMTP"),
    "dies in the middle": (cut_in_data, "SMTPServerDisconnected|Connection"),
    "wrong password": (set_on(right_password=False), "535"),
    "451": (refuse("451 later"), "451 later|451, b'later'"),
    "452 over quota": (refuse("452 mailbox full"), "452"),
    "421 busy": (set_on(refuse_data="421 busy"), "421"),
    "451 at data": (set_on(refuse_data="451 greylisted"), "451"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_tried_again_and_the_mail_comes_once(site, fault):
    begin, reason = FAULTS[fault]
    begin(site)
    try:
        task = site.sign_up()
        row = site.wait_for(task, "READY", attempts=1)
        event = site.event(task, "retry")
    finally:
        reset(site)
    site.make_due(task)
    assert_delivered(site, task)
    assert site.outcomes(task) == ["retry", "done"]
    assert re.search(reason, row.error)
    assert re.search(reason, event["message"])
    assert event["level"] == "warning"


@pytest.mark.parametrize(
    ("begin", "reason"),
    [
        (refuse("550 no such user"), "The mail server refuses the recipient (550)."),
        (set_on(refuse_data="554 spam"), "The mail server refuses the mail (554)."),
        (set_on(refuse_sender="550 not you"), "The mail server refuses the mail (550)."),
    ],
)
def test_what_is_refused_for_good_is_not_tried_again(site, begin, reason):
    begin(site)
    try:
        task = site.sign_up()
        row = site.wait_for(task, "FAILED")
    finally:
        reset(site)
    assert (row.attempts, row.error) == (1, reason)
    event = site.event(task, "failed")
    assert event["level"] == "error"
    assert reason in event["message"]
    assert not mails_to(site, task)


def test_attempts_come_after_growing_pauses_and_end(site):
    pauses = []
    refuse("451 later")(site)
    try:
        task = site.sign_up()
        for attempt in (1, 2, 3):
            site.wait_for(task, "READY", attempts=attempt)
            pauses.append(site.make_due(task))
        site.wait_for(task, "READY", attempts=4)
        site.sql(f"UPDATE twelve_task SET attempts = 19 WHERE id = {task.pk}")
        site.make_due(task)
        row = site.wait_for(task, "FAILED")
    finally:
        reset(site)
    assert 2 * pauses[0] < pauses[2] + 10
    assert 0 < pauses[0] < 13 < pauses[2] < 49
    assert row.attempts == 20
    assert "451" in row.error
    assert "(20 attempts)" in row.error
    assert site.outcomes(task) == ["retry"] * 4 + ["failed"]


def test_a_slow_server_is_waited_for(site):
    site.network.delay(0.3)
    try:
        task = site.sign_up()
        assert_delivered(site, task)
    finally:
        reset(site)
    assert site.outcomes(task) == ["done"]


def test_a_restarted_server_takes_the_next_mail(site):
    first = site.sign_up()
    assert_delivered(site, first)
    site.server.stop()
    site.server.start()
    second = site.sign_up()
    assert_delivered(site, second)
    assert site.outcomes(second) == ["done"]


def test_a_mail_that_was_taken_without_an_answer_comes_again_as_the_same_mail(site):
    def cut(answer):
        if not site.server.mails or site.server.mails[-1].recipients != [f"person{site.people}@example.com"]:
            return answer
        site.network.cut()
        return b""

    site.network.change_answer = cut
    try:
        task = site.sign_up()
        site.wait_for(task, "READY", attempts=1)
    finally:
        reset(site)
    site.make_due(task)
    assert_delivered(site, task, times=2)


def test_a_certificate_that_is_not_trusted_is_reported_with_what_mends_it(site, certificates):
    with MailServer("smtp+tls", certificates) as server:
        site.restart("worker", EMAIL_URL=server.url)
        task = site.sign_up()
        row = site.wait_for(task, "READY", attempts=1)
        for text in (row.error, site.event(task, "retry")["message"]):
            assert "certificate verify failed" in text
            assert "TLS_CA_FILE" in text
            assert "TLS_UNVERIFIED=mail" in text
        assert not server.mails
        site.restart("worker", TLS_CA_FILE=str(certificates.ca))
        site.make_due(task)
        site.wait_for(task, "SUCCESSFUL")
        assert [mail.recipients for mail in server.mails] == [[task.address]]
        del site.environment["TLS_CA_FILE"]


def test_a_mail_is_not_sent_in_the_clear_where_starttls_is_asked_for(site):
    site.restart("worker", EMAIL_URL=site.network.url.replace("smtp:", "smtp+tls:"))
    task = site.sign_up()
    row = site.wait_for(task, "READY", attempts=1)
    assert "STARTTLS" in row.error
    assert not mails_to(site, task)
    site.restart("worker", EMAIL_URL=site.network.url)
    site.make_due(task)
    assert_delivered(site, task)
