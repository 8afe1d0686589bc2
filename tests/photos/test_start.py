"""Processes start without the libraries of images: only the work that reads one imports them."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("start", ["import config.wsgi", "import config.celery, django; django.setup()"])
def test_no_process_imports_the_libraries_of_images_at_its_start(start):
    code = f"{start}; import sys; sys.exit(bool('PIL' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
