"""The browser of these tests: the system's Chromium, which does nothing by itself."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.twelve.processes import program


@pytest.fixture(scope="package")
def browser():
    chromium = program("chromium", "chromium-browser", "google-chrome")
    quiet = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=quiet)
        yield browser
        browser.close()


@pytest.fixture
def screenshot(tmp_path):
    """Take a screenshot of a page; SCREENSHOTS=folder keeps them to be looked at."""
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))

    def take(page, name):
        page.wait_for_load_state("load")
        overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert overflow <= 0, f"{name} scrolls sideways by {overflow} px"
        page.screenshot(path=folder / f"{name}.png", full_page=True)

    return take
