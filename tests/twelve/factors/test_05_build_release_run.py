"""Factor V: a build without a config, releases forward and back under traffic, processes that change nothing."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.twelve.builds import COMMIT, a_stylesheet, copy_of_the_repository, static_files
from tests.twelve.networks import Proxy
from tests.twelve.processes import Deploy, Person, wait_until
from tests.twelve.releases import PRIORITY, Traffic, build
from tests.twelve.servers import PostgreSQL

pytestmark = pytest.mark.prove


def test_the_build_needs_no_config_and_leaves_what_every_process_needs(built):
    names = static_files(built.root / "staticfiles")
    assert len(names) > 20
    for name, hashed in names.items():
        assert re.fullmatch(r"\.[0-9a-f]{12}", hashed.removeprefix(name.rpartition(".")[0]).rpartition(".")[0]), name
    stylesheet = built.root / "staticfiles" / a_stylesheet(built.root / "staticfiles")[1]
    assert all(stylesheet.with_name(f"{stylesheet.name}{suffix}").is_file() for suffix in ("", ".gz", ".br"))
    assert (built.root / "staticfiles/commit.txt").read_text() == f"{COMMIT}\n"


def test_every_process_type_runs_from_a_build_that_it_cannot_change(built, tmp_path):
    deploy = built.deploy(tmp_path, RELEASE_VERSION="v1")
    try:
        touch = subprocess.run([*built.prefix, "touch", built.root / "manage.py", built.root / "new"], check=False)
        assert touch.returncode == 1
        release = deploy.start("release")
        assert release.child.wait(60) == 0, (tmp_path / "stderr.log").read_text()
        web, worker, clock = deploy.start_web(), deploy.start("worker"), deploy.start("clock")
        worker.wait_for("ready")
        clock.wait_for("beat: Starting")
        person = Person(deploy.address)
        person.sign_up("eve@example.com", "a long enough passphrase", lambda: worker.text)
        wait_until(lambda: "Sign out" in person.get("/"), 60, lambda: person.page + web.text)
        assert json.loads(worker.text.splitlines()[-1])["commit"] == COMMIT
        assert "eve@example.com" in deploy.manage("dumpdata", "users.user").stdout
        for process in (web, worker, clock):
            assert process.stop() == 0, process.text
    finally:
        deploy.close()
    assert built.hash() == built.digest
    assert list((tmp_path / "home").iterdir()) == []


def test_a_build_fails_on_a_reference_that_leads_nowhere(tmp_path):
    copy_of_the_repository(tmp_path)
    stylesheet = tmp_path / "twelve/static/pages/new.css"
    stylesheet.parent.mkdir(parents=True)
    stylesheet.write_text("main { background: url('missing.png') }\n")
    build = subprocess.run(
        ["env", "-i", sys.executable, "manage.py", "collectstatic", "--noinput"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert build.returncode == 1
    assert "pages/missing.png" in build.stderr
    assert "Traceback" not in build.stderr
    assert not (tmp_path / "staticfiles/commit.txt").exists()


def test_a_build_of_no_known_commit_forgets_the_former_one(tmp_path):
    copy_of_the_repository(tmp_path)
    (tmp_path / ".git").mkdir()  # of which git says nothing, as of another user's
    (tmp_path / "staticfiles").mkdir()
    (tmp_path / "staticfiles/commit.txt").write_text("c0ffee\n")
    show = ["-c", "import config.settings as s; print(s.COMMIT or 'not known')"]
    collect = ["manage.py", "collectstatic", "--noinput", "--verbosity", "0"]

    def run(*arguments):
        python = ["env", "-i", *arguments]
        return subprocess.run(python, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60).stdout

    run("SOURCE_VERSION=decade", sys.executable, *collect, "--dry-run")
    assert run(sys.executable, *show) == "c0ffee\n"
    run(sys.executable, *collect)
    assert run(sys.executable, *show) == "not known\n"


class Platform:
    """Runs one release after the other behind a router, as a platform does: release, start, switch, stop the former."""

    def __init__(self, folder, **variables):
        self.folder, self.variables, self.running = folder, variables, None
        self.router = Proxy(SimpleNamespace(port=None, url_at="http://127.0.0.1:{}".format))

    def release(self, version, root):
        """Release a build under this version; returns what the release said."""
        folder = self.folder / version
        folder.mkdir()
        deploy = Deploy(folder, root=root, **self.variables, RELEASE_VERSION=version, SOURCE_VERSION=root.name * 10)
        release = deploy.start("release")
        assert release.child.wait(60) == 0, (folder / "stderr.log").read_text()
        deploy.web = deploy.start_web()
        former, self.running, self.router.server.port = self.running, deploy, deploy.port
        self.former = former
        return release.text

    def stop_former(self):
        assert self.former.web.stop() == 0

    def live(self):
        """What the site says of itself, through the router."""
        return json.loads(Deploy.ask(SimpleNamespace(port=self.router.port), "/health/live/").body)

    def close(self):
        self.router.__exit__()
        for deploy in (self.former, self.running):
            deploy.close()


def test_a_release_goes_forward_and_back_under_traffic_and_no_request_fails(tmp_path):
    old = build(tmp_path / "old")
    new = build(tmp_path / "new", PRIORITY)
    models = new / "twelve/models.py"
    field = "    priority = models.IntegerField(db_default=0)\n\n    class Meta:"
    models.write_text(models.read_text().replace("\n    class Meta:", field, 1))

    with PostgreSQL() as postgres:
        shared = {"DATABASE_URL": postgres.url, "SECRET_KEY": "k" * 50, "WEB_CONCURRENCY": "2", "ADMIN_USER": "eve"}
        platform = Platform(tmp_path, **shared)
        try:
            platform.release("v1", old)
            with Traffic(platform.router.url) as traffic:
                for version, root, applied in (("v2", new, "1 migration"), ("v3", old, "no migrations")):
                    assert f"Released {version}, commit {root.name * 2}" in (said := platform.release(version, root))
                    assert f": {applied} applied." in said
                    traffic.wait_for_more()  # both have worked on the schema of the newer one
                    platform.stop_former()
                    assert platform.live() == {"status": "live", "release": version, "commit": root.name * 10}
                    traffic.wait_for_more()
            rows = json.loads(platform.running.manage("dumpdata", "twelve.release").stdout)
        finally:
            platform.close()
    assert sorted(row["fields"]["version"] for row in rows) == ["v1", "v2", "v3"]
    assert {row["fields"]["released_by"] for row in rows} == {"eve"}


@pytest.mark.parametrize("name", ["web", "worker", "clock"])
def test_no_process_migrates_by_starting(name, tmp_path):
    deploy = Deploy(tmp_path)
    deploy.manage("release")
    deploy.root = build(tmp_path / "new", PRIORITY)
    process = deploy.start(name)
    try:
        process.wait_for({"web": "Listening at", "worker": "ready", "clock": "beat"}[name])
        process.stop()
    finally:
        deploy.close()
    assert re.search(r"\[ \] 0002_second", deploy.manage("showmigrations", "twelve").stdout)
