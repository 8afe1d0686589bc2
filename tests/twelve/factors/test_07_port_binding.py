"""Factor VII: the app is its own server, on whichever port, address family and host a platform gives it."""

import http.client
import json
import re
import subprocess
import sys
import sysconfig
from contextlib import closing

import pytest

from tests.twelve.builds import a_stylesheet
from tests.twelve.processes import BIN, Deploy, Process, program, status, wait_until

pytestmark = pytest.mark.prove
LOOPBACK = ("127.0.0.1", "::1")
HEADERS = {"Host": "localhost", "Accept-Encoding": "gzip"}


def ask(host, port, path, headers=HEADERS):
    with closing(http.client.HTTPConnection(host, port, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.body = answer.read()
        return answer


def assert_serves(deploy, stylesheet):
    """A page, a static file and the health answer, on both address families."""
    for host in LOOPBACK:
        assert b"<h1" in ask(host, deploy.port, "/").body
        static = ask(host, deploy.port, f"/static/{stylesheet}")
        assert (static.status, static.headers["Content-Encoding"]) == (200, "gzip")
        assert "immutable" in static.headers["Cache-Control"]
        assert json.loads(ask(host, deploy.port, "/health/ready/").body)["status"] == "ready"


def test_a_deploy_serves_all_that_it_has_on_a_port_of_the_platforms_choice(built, tmp_path):
    deploy = built.deploy(tmp_path)
    deploy.manage("release")
    try:
        web = deploy.start_web()
        assert_serves(deploy, a_stylesheet(built.root / "staticfiles")[1])
        assert f"Listening at: http://[::]:{deploy.port}" in web.text
    finally:
        deploy.close()


def test_an_asgi_server_serves_the_same(build, tmp_path):
    deploy = Deploy(tmp_path)
    deploy.manage("release")
    command = [BIN / "uvicorn", "config.asgi:application", "--host", "", "--port", str(deploy.port)]
    server = Process(command, environment=deploy.environment, output=tmp_path / "uvicorn.log")
    try:
        wait_until(lambda: status(f"{deploy.address}/health/live/"), 30, lambda: server.text)
        assert_serves(deploy, a_stylesheet(build)[1])
        assert server.stop() in (0, -15), server.text
    finally:
        server.kill()


# What platforms set, as their builders and starters do. The classic buildpack has no virtual environment.
PLATFORMS = {
    "heroku": {
        "PYTHONHOME": sys.base_prefix,
        "PYTHONPATH": f".:{sysconfig.get_path('purelib')}",
        "WEB_CONCURRENCY": "2",
        "FORWARDED_ALLOW_IPS": "*",
        "GUNICORN_CMD_ARGS": "--access-logfile -",
        "DYNO": "web.1",
        "HEROKU_RELEASE_VERSION": "v7",
    },
    "render": {
        "GUNICORN_CMD_ARGS": "--preload --access-logfile - --bind=0.0.0.0:{port}",
        "RENDER_GIT_COMMIT": "b" * 40,
    },
}


@pytest.mark.parametrize("name", PLATFORMS)
def test_it_serves_as_a_platform_starts_it(name, tmp_path):
    deploy = Deploy(tmp_path)
    deploy.environment |= {key: value.format(port=deploy.port) for key, value in PLATFORMS[name].items()}
    try:
        assert deploy.start("release").child.wait(60) == 0, (tmp_path / "stderr.log").read_text()
        web, worker, clock = deploy.start_web(), deploy.start("worker"), deploy.start("clock")
        worker.wait_for("ready")
        clock.wait_for("beat: Starting")
        answer = deploy.ask("/", X_Forwarded_Proto="https", X_Forwarded_For="192.0.2.7")
        assert answer.status == 200
        for process in (web, worker, clock):
            assert process.stop() == 0, process.text
        events = [json.loads(line) for line in web.text.splitlines()]
        (client,) = [event["client"] for event in events if event.get("path") == "/"]
        assert client == "192.0.2.7"
        assert "HTTP/1.1" not in web.text  # gunicorn's own access log stays off
    finally:
        deploy.close()


ABOVE = [{"SCRIPT_NAME": "/accounts"}, {"SCRIPT_NAME": "/elsewhere"}, {"PATH_INFO": "/"}, {"Script-Name": "/accounts"}]


@pytest.mark.parametrize("server", ["gunicorn", "uvicorn"])
def test_no_client_says_below_which_path_the_site_is(server, make_deploy):
    """Where every peer is taken for a proxy, as Heroku's buildpack has it."""
    deploy = make_deploy(FORWARDED_ALLOW_IPS="*")
    if server == "gunicorn":
        deploy.start_web()
    else:
        command = [BIN / "uvicorn", "config.asgi:application", "--port", str(deploy.port)]
        deploy.processes.append(
            Process(command, environment=deploy.environment, output=deploy.folder / "uvicorn.log", cwd=deploy.root)
        )
        wait_until(lambda: status(f"{deploy.address}/health/live/"), 60, lambda: deploy.processes[0].text)

    def links(headers):
        answer = ask("127.0.0.1", deploy.port, "/accounts/login/", headers)
        return answer.status, re.findall(rb'(?:href|action|src)="(/[^"]*)"', answer.body)

    status_, plain = links({})
    assert (status_, b"/accounts/signup/" in plain) == (200, True)
    for headers in ABOVE:
        assert links(headers) == (200, plain), headers


HOSTS = {
    "ipv4-only": ("ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6", "127.0.0.1"),
    "ipv6-only": ("ip link set lo up && ip address del 127.0.0.1/8 dev lo", "::1"),
}


@pytest.mark.parametrize("kind", HOSTS)
def test_it_serves_on_a_host_with_one_address_family(kind, tmp_path):
    unshare = [program("unshare"), "--net"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("a network namespace cannot be made here: it takes root, and more than a container's")
    prepare, host = HOSTS[kind]
    program("ip")
    deploy = Deploy(tmp_path)
    deploy.manage("release")
    deploy.prefix = [*unshare, "sh", "-c", f'{prepare} && exec "$@"', "sh"]
    code = f"import http.client as h; c = h.HTTPConnection({host!r}, {deploy.port}); c.request('GET', '/health/ready/')"
    web = deploy.start("web")
    inside = [program("nsenter"), f"--target={web.child.pid}", "--net"]
    try:
        web.wait_for("Listening at")
        ask_it = [*inside, sys.executable, "-c", f"{code}; print(c.getresponse().status)"]
        asked = subprocess.run(ask_it, capture_output=True, text=True, timeout=30)
        assert asked.stdout == "200\n", asked.stderr + web.text
        other = next(address for address in LOOPBACK if address != host)
        refused = [*ask_it[:-1], ask_it[-1].replace(host, other)]
        assert subprocess.run(refused, capture_output=True, timeout=30).returncode == 1
        assert web.stop() == 0
    finally:
        deploy.close()
