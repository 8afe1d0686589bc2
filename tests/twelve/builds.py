"""A build, made as every platform makes it, that nobody can change afterwards."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.twelve.processes import ROOT, Deploy, program

# The commands that build.
STEPS = (
    "pip install --no-cache-dir --require-hashes -r requirements.txt",
    "python manage.py collectstatic --noinput",
)
COMMIT = "c0ffee" * 6 + "c0ff"  # what the platform gives the build, and only the build
SOMEBODY = 65534  # a user who starts no process here
# How this machine reaches the index of packages: no variable of the project.
INDEX = re.compile(r"PIP_|UV_|SSL_CERT|REQUESTS_CA|CURL_CA|https?_proxy|no_proxy", re.IGNORECASE)


class Build:
    """The tracked files and a virtual environment in a folder, and what the build's steps made of them."""

    def __init__(self, folder):
        self.folder, self.root, self.bin = folder, folder / "app", folder / "venv/bin"
        copy_of_the_repository(self.root)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        self.output = "".join(self.run(step, SOURCE_VERSION=COMMIT) for step in STEPS)
        self.prefix = []
        if os.getuid() == 0:  # root may write everywhere: its processes lose that, and the tree is another's
            self.prefix = [program("setpriv"), "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
            subprocess.run(["chown", "-R", f"{SOMEBODY}:{SOMEBODY}", folder], check=True)
        subprocess.run(["chmod", "-R", "a-w,a+rX", folder], check=True)
        self.digest = self.hash()

    def run(self, step, **variables):
        """Run a shell command as a step of the build, in an environment with nothing in it; returns its output."""
        environment = {name: value for name, value in os.environ.items() if INDEX.match(name)} | variables
        environment["PATH"] = f"{self.bin}{os.pathsep}/usr/bin{os.pathsep}/bin"
        arguments = [f"{name}={value}" for name, value in environment.items()]
        command = ["env", "-i", *arguments, "sh", "-c", step]
        result = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=800)
        assert result.returncode == 0, f"{step}: {result.stdout}{result.stderr}"
        return result.stdout

    def hash(self):
        """One hash of every file's name, mode, owner and content."""
        whole = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            state = path.lstat()
            whole.update(f"{path} {state.st_mode} {state.st_uid} {state.st_size}\n".encode())
            if path.is_file() and not path.is_symlink():
                whole.update(path.read_bytes())
        return whole.hexdigest()

    def deploy(self, folder, **variables):
        """A deploy that runs from this build, with a home and a temporary folder of its own."""
        for name in ("", "home", "tmp"):
            (folder / name).mkdir(exist_ok=True)
        own = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), "STATIC_ROOT": "staticfiles"}
        deploy = Deploy(folder, root=self.root, bin_=self.bin, **own | variables)
        deploy.prefix = self.prefix
        return deploy

    def open(self):
        """Let the folder be removed."""
        subprocess.run(["chmod", "-R", "u+w", self.folder], check=True)


def copy_of_the_repository(folder):
    """The tracked files, as a clone would have them after a commit: without those that are deleted."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if not (ROOT / name).exists():
            continue
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


def static_files(folder):
    """The names in the manifest of a folder of collected static files, each with its hashed name."""
    return json.loads((Path(folder) / "staticfiles.json").read_text())["paths"]


def a_stylesheet(folder):
    """The name and the hashed name of one of the stylesheets there."""
    return next(names for names in static_files(folder).items() if names[0].endswith(".css"))
