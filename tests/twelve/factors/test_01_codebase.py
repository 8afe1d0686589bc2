"""Factor I: one build runs every deploy, and nothing differs between two of them but the environment."""

import json

import pytest

from tests.twelve.builds import COMMIT
from tests.twelve.processes import Person

pytestmark = pytest.mark.prove


def live(deploy):
    return json.loads(deploy.ask("/health/live/").body)


def test_one_build_runs_two_deploys_at_once_and_does_not_change(built, tmp_path):
    first = built.deploy(tmp_path / "first", RELEASE_VERSION="v1")
    second = built.deploy(tmp_path / "second", RELEASE_VERSION="v8", GIT_REV="d" * 40, LOG_FORMAT="console")
    try:
        for deploy in (first, second):
            assert deploy.start("release").child.wait(60) == 0, (deploy.folder / "stderr.log").read_text()
            deploy.start_web()
        assert live(first) == {"status": "live", "release": "v1", "commit": COMMIT}
        assert live(second) == {"status": "live", "release": "v8", "commit": "d" * 40}
        person = Person(first.address)
        person.post("/accounts/signup/", {"email": "eve@example.com", "password1": "a long enough passphrase"})
        assert [deploy.sql("SELECT count(*) FROM users_user") for deploy in (first, second)] == [[(1,)], [(0,)]]
        assert first.processes[-1].text.startswith("{")
        assert not second.processes[-1].text.startswith("{")
        assert all(process.stop() == 0 for deploy in (first, second) for process in deploy.processes)
    finally:
        first.close()
        second.close()
    assert built.hash() == built.digest
    assert [list((deploy.folder / "home").iterdir()) for deploy in (first, second)] == [[], []]
