"""What the README promises to someone with a fresh machine: one command, and the site runs."""

import io
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from PIL import Image

from tests.twelve.builds import copy_of_the_repository
from tests.twelve.processes import BIN, ROOT, Person, Process, free_port, wait_until
from twelve.env import env

pytestmark = [pytest.mark.prove, pytest.mark.timeout(2400)]


def bare_environment(home):
    """The environment of someone who just logged in: none of the project's variables, no virtual environment."""
    theirs = {name: value for name, value in os.environ.items() if name not in env.variables}
    for name in (
        "VIRTUAL_ENV",
        "DJANGO_SETTINGS_MODULE",
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
        "REQUIRE_SERVICES",
        "PYTHONUNBUFFERED",
    ):
        theirs.pop(name, None)
    path = [folder for folder in theirs["PATH"].split(os.pathsep) if Path(folder) != BIN]
    return theirs | {"HOME": str(home), "PATH": os.pathsep.join(path)}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The tracked files, as a clone has them, in an empty folder whose name has a space."""
    folder = tmp_path_factory.mktemp("clone") / "my site"
    copy_of_the_repository(folder)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    subprocess.run(["git", "add", "."], cwd=folder, check=True)
    return folder


@pytest.fixture
def make_run(clone, tmp_path):
    """Start `make run` in the clone with an empty HOME; stopped at the end in any case."""
    home = tmp_path / "home"
    home.mkdir()
    started = []

    def start(port):
        process = Process(
            ["make", "run", f"PORT={port}"], cwd=clone, environment=bare_environment(home), output=tmp_path / "out"
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
    for pid in living_in(clone):
        os.kill(pid, signal.SIGKILL)


def living_in(folder):
    """The processes whose working directory is in the folder."""
    pids = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                place = (entry / "cwd").readlink()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if place.is_relative_to(folder) and state != "Z":
                pids.append(int(entry.name))
    return pids


def photo(width=4000, height=3000):
    """A JPEG of a phone held upright: stored lying, with its orientation, its place and its maker in the EXIF."""
    gradient = Image.linear_gradient("L").resize((width, height))
    image = Image.merge("RGB", (gradient, gradient.rotate(180), gradient))
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    exif[0x010F] = "SecretMaker"
    exif.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    data = io.BytesIO()
    image.save(data, "JPEG", quality=92, exif=exif)
    return data.getvalue()


def test_one_command_and_a_person_sees_the_renditions_of_her_photo(clone, make_run, tmp_path):
    port = free_port()
    run = make_run(port)
    run.wait_for(rf"Ready: http://localhost:{port}", seconds=1000)
    assert "createsuperuser" in run.text

    person = Person(f"http://localhost:{port}")
    person.sign_up("eve@example.com", "a long enough passphrase", lambda: run.text)
    original = photo()
    person.post("/photos/", files=[("photo", "from my phone.jpg", original)])

    def renditions():
        return re.findall(r'<img[^>]+src="([^"]+\.webp[^"]*)"', person.get("/photos/"))

    (thumbnail,) = wait_until(renditions, 60, lambda: run.text)
    detail = re.search(r'href="(/photos/[0-9a-f-]{36}/)"', person.page)[1]
    page = person.get(detail)
    (large,) = re.findall(r'<img[^>]+src="([^"]+\.webp[^"]*)"', page)
    (download,) = re.findall(r'href="(/media/[^"]+)"', page)
    for link, size in ((thumbnail, (240, 320)), (large, (1200, 1600))):
        stored = person.fetch(link.replace("&amp;", "&"))
        assert b"SecretMaker" not in stored
        with Image.open(io.BytesIO(stored)) as rendition:
            assert (rendition.format, rendition.size) == ("WEBP", size)
            assert not rendition.getexif()
            assert not {"exif", "xmp", "icc_profile"} & set(rendition.info)
    assert person.fetch(download.replace("&amp;", "&")) == original
    names = [path.name for path in (clone / "var/media").rglob("*") if path.is_file()]
    assert sorted(names) == ["1600.webp", "320.webp", "original.jpg"]
    assert re.search(r"^worker .*", run.text, re.MULTILINE)
    assert re.search(r"^clock .*", run.text, re.MULTILINE)

    # An edit of the code restarts all three.
    names = clone / "apps/pages/templatetags/pages.py"
    names.write_text(names.read_text().replace('SITE_NAME = "Blueprint"', 'SITE_NAME = "Edited"', 1))
    edited = time.monotonic()
    wait_until(lambda: "Edited" in served(person), 100, lambda: run.text)
    print(f"an edit was served after {time.monotonic() - edited:.1f} s")
    run.wait_for(r"(?s)restarting.*clock  +\|")

    # Ctrl-C stops all of them.
    before = set(living_in(clone))
    assert len(before) >= 5
    os.killpg(run.child.pid, signal.SIGINT)
    asked = time.monotonic()
    run.child.wait(100)
    print(f"stopped after {time.monotonic() - asked:.1f} s")
    assert living_in(clone) == []
    assert "Traceback" not in run.text

    # The second start has nothing to install.
    again = make_run(port)
    again.wait_for("Ready: ", seconds=100)
    assert "installing" not in again.text
    os.killpg(again.child.pid, signal.SIGHUP)  # the terminal was closed
    again.child.wait(100)
    assert wait_until(lambda: not living_in(clone), 100, lambda: again.text)


def served(person):
    try:
        return person.get("/")
    except OSError:
        return ""


def test_a_taken_port_is_reported_with_the_way_out(clone, make_run):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = make_run(port)
        run.child.wait(1000)
    assert run.child.returncode != 0
    assert f"Port {port} is taken. Choose another: make run PORT={port + 1}" in run.text
    assert "Traceback" not in run.text


def test_without_a_python_the_command_says_what_to_install(tmp_path):
    """A machine with a version manager's stub that fails, and nothing else."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("make", "sh", "rm", "touch"):
        (programs / name).symlink_to(shutil.which(name))
    stub = programs / "python3"
    stub.write_text("#!/bin/sh\necho 'python3: command not found in this version' >&2\nexit 127\n")
    stub.chmod(0o755)
    folder = tmp_path / "site"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("requirements.txt", ".env.example", "requirements/dev.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    result = subprocess.run(
        ["make", "run"], cwd=folder, env={"PATH": str(programs)}, capture_output=True, text=True, timeout=60
    )
    assert result.returncode != 0
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert lines == [
        "Python 3.12 or newer is needed. Looked for: python3 (does not run), python3.14 (does not run), "
        "python3.13 (does not run), python3.12 (does not run), uv (not there).",
        "Install Python 3.13 (python.org/downloads, or your system's package) or uv (docs.astral.sh/uv), "
        "then try again.",
    ]
    assert not (folder / ".venv").exists()
