"""A person's way through the pages in Chromium, on a desk and on a phone: no console error, no policy violation."""

import colorsys
import io
import math
import re
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageOps
from playwright.sync_api import expect

from tests.twelve.processes import CODE, Deploy, wait_until

pytestmark = pytest.mark.prove

SCREENS = {
    "desk": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark", "has_touch": True, "is_mobile": True},
}
LOADED = "[...document.images].every(image => image.complete && image.naturalWidth)"
PASSWORD = "a long enough passphrase"


@pytest.fixture(scope="module")
def deploy(tmp_path_factory):
    deploy = Deploy(tmp_path_factory.mktemp("deploy"))
    deploy.manage("migrate", "--noinput", "--verbosity", "0")
    deploy.start_web()
    deploy.worker = deploy.start("worker")
    deploy.worker.wait_for("ready")
    yield deploy
    deploy.close()


@pytest.fixture(params=SCREENS)
def screen(request):
    return request.param


@pytest.fixture
def page(browser, deploy, screen):
    """A page whose complaints fail the test."""
    context = browser.new_context(base_url=deploy.address, **SCREENS[screen])
    page = context.new_page()
    complaints = []
    page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("response", lambda answer: answer.status >= 400 and complaints.append(f"{answer.status} {answer.url}"))
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def look(page, screen, screenshot):
    return lambda name: screenshot(page, f"{screen}-{name}")


def landscape(width, height, hue):
    """A picture of a sun over hills, drawn here; `hue` is from 0 to 255."""

    def colour(saturation, value):
        return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue / 255, saturation, value))

    image = Image.linear_gradient("L").resize((width, height))
    image = ImageOps.colorize(image, colour(0.55, 0.85), colour(0.15, 1.0))
    draw = ImageDraw.Draw(image)
    x, y, radius = width * 0.68, height * 0.38, height * 0.13
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour(0.06, 1.0))
    for layer in range(5):
        ridge = [
            (x, height * (0.55 + 0.09 * layer) + height * 0.06 * math.sin(x / width * (5 + layer * 2) + layer * hue))
            for x in range(0, width + 8, 8)
        ]
        draw.polygon([(0, height), *ridge, (width, height)], fill=colour(0.45 + layer * 0.09, 0.72 - layer * 0.13))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=88)
    return data.getvalue()


def enter_code(page, code):
    page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Confirm the address").click()


def test_from_sign_up_to_sign_out(page, deploy, screen, look):
    email = f"ada-{screen}@example.com"
    page.goto("/")
    look("home")
    page.get_by_role("link", name="Create an account").click()
    page.wait_for_url("**/signup/")
    look("signup")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name=re.compile("Create")).click()
    page.wait_for_url("**/accounts/confirm-email/")
    look("code")
    enter_code(page, "BBBB-BBBB")
    page.get_by_text("Incorrect code.").wait_for()
    look("code-wrong")
    pattern = rf"mail to {re.escape(email)}.*?({CODE.pattern})"
    code = wait_until(lambda: re.search(pattern, deploy.worker.text, re.DOTALL), 30, lambda: deploy.worker.text)[1]
    enter_code(page, code)
    page.wait_for_url(deploy.address + "/")

    page.goto("/accounts/email/")
    page.get_by_label("Email").fill(f"other-{email}")
    page.get_by_role("main").get_by_role("button", name="Add").click()
    page.get_by_role("heading", name="Confirm Access").wait_for()
    look("reauthenticate")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.wait_for_url("**/accounts/confirm-email/")
    look("code-added")
    page.get_by_role("link", name="Cancel").click()
    page.wait_for_url("**/accounts/email/")
    look("addresses")

    page.get_by_role("link", name="Photos", exact=True).click()
    page.wait_for_url("**/photos/")
    look("photos-empty")
    names = ["Morning.jpg", "Noon.jpg", "Evening at the lake, with a rather long name.jpg"]
    files = [
        {"name": name, "mimeType": "image/jpeg", "buffer": landscape(2000, 1400, hue)}
        for name, hue in zip(names, (148, 110, 12), strict=True)
    ]
    files.append({"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": files[0]["buffer"][:30000]})
    for file in files:
        page.locator("input[type=file]").set_input_files([file])
        page.get_by_role("main").get_by_role("button", name=re.compile("Upload")).click()
        page.get_by_text(f"“{file['name']}” is uploaded.").wait_for()
    # The page follows the worker by itself.
    expect(page.locator('main img[src*="320.webp"]')).to_have_count(3, timeout=60_000)
    page.get_by_text("failed", exact=True).wait_for()
    wait_until(lambda: page.evaluate(LOADED), 30, "every picture is shown")
    look("photos")
    polls = []
    page.on("request", lambda request: polls.append(request.url))
    page.wait_for_timeout(3000)
    assert polls == []  # nothing waits, so nobody asks

    page.get_by_role("link", name=re.compile("Morning")).first.click()
    page.locator('main img[src*="1600.webp"]').wait_for()
    wait_until(lambda: page.evaluate(LOADED), 30, "every picture is shown")
    look("photo")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "Morning.jpg"
    assert Path(download.value.path()).read_bytes() == files[0]["buffer"]
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("heading", name="Delete this photo?").wait_for()
    look("delete")
    page.get_by_role("main").get_by_role("button", name="Delete").click()
    page.wait_for_url("**/photos/")
    page.get_by_text("“Morning.jpg” is deleted.").wait_for()
    assert page.locator('main img[src*="320.webp"]').count() == 2

    page.get_by_role("button", name="Account").click()
    look("menu")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in").first.wait_for()
    page.goto("/photos/")
    page.wait_for_url("**/accounts/login/**")
    page.get_by_label("Email").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/photos/")


def test_without_javascript_the_same_page_uploads_and_shows(browser, deploy):
    deploy.environment |= {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    deploy.manage("createsuperuser", "--noinput", "--email", "root@example.com")
    context = browser.new_context(base_url=deploy.address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/accounts/login/?next=/photos/")
    page.get_by_label("Email").fill("root@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    file = {"name": "hills.jpg", "mimeType": "image/jpeg", "buffer": landscape(800, 600, 90)}
    page.locator("input[type=file]").set_input_files([file])
    page.get_by_role("main").get_by_role("button", name=re.compile("Upload")).click()

    page.get_by_text("“hills.jpg” is uploaded.").wait_for()  # the answer to the form, before the next page is asked for

    def shown():
        page.goto("/photos/")
        return page.locator('main img[src*="320.webp"]').count() == 1

    wait_until(shown, 60, lambda: deploy.worker.text)
    # Staff see every photo in the admin, whose pages obey the same policy.
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto("/admin/")
    page.get_by_role("link", name="Photos").first.click()
    page.get_by_role("link", name="hills.jpg").or_(page.locator("th a")).first.click()
    assert complaints == []
    context.close()
