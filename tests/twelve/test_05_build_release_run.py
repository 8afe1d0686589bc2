"""Factor V: a release goes forward and back under traffic, and no process changes anything by starting."""

import json
import re
from types import SimpleNamespace

import pytest

from tests.networks import Proxy
from tests.processes import Deploy
from tests.releases import PRIORITY, Traffic, build
from tests.servers import PostgreSQL

pytestmark = pytest.mark.e2e


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
        """What the site tells of itself, through the router."""
        return json.loads(Deploy.ask(SimpleNamespace(port=self.router.port), "/health/live/").body)

    def close(self):
        self.router.__exit__()
        for deploy in (self.former, self.running):
            deploy.close()


def test_a_release_goes_forward_and_back_under_traffic_and_no_request_fails(tmp_path):
    old = build(tmp_path / "old")
    new = build(tmp_path / "new", PRIORITY)
    models = new / "apps/jobs/models.py"
    field = "    priority = models.IntegerField(db_default=0)\n\n    class Meta:"
    models.write_text(models.read_text().replace("\n    class Meta:", field, 1))

    with PostgreSQL() as postgres:
        shared = {"DATABASE_URL": postgres.url, "SECRET_KEY": "k" * 50, "WEB_CONCURRENCY": "2", "ADMIN_USER": "eve"}
        platform = Platform(tmp_path, **shared)
        try:
            platform.release("v1", old)
            with Traffic(platform.router.url) as traffic:
                for version, root, applied in (("v2", new, "1"), ("v3", old, "no")):
                    assert f"Released {version}, commit {root.name * 2}" in (told := platform.release(version, root))
                    assert f": {applied} migrations applied." in told
                    traffic.wait_for_more()  # both have worked on the schema of the newer one
                    platform.stop_former()
                    assert platform.live() == {"status": "live", "release": version, "commit": root.name * 10}
                    traffic.wait_for_more()
            rows = json.loads(platform.running.manage("dumpdata", "ops.release").stdout)
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
    assert re.search(r"\[ \] 0002_second", deploy.manage("showmigrations", "jobs").stdout)
