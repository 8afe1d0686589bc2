"""Photos go from Chromium straight into a bucket of another origin, behind TLS, under the site's policies and CORS."""

import re

import pytest
from playwright.sync_api import expect

from tests.photos.browser.test_journey import LOADED, PASSWORD, SCREENS, landscape
from tests.twelve.object_storage import Faulty
from tests.twelve.processes import Deploy, wait_until

pytestmark = pytest.mark.prove


@pytest.fixture(scope="module")
def bucket(server, certificates):
    """Ceph behind a proxy that has TLS, as a platform's storage has."""
    with Faulty(server, certificates) as bucket:
        yield bucket


@pytest.fixture(scope="module")
def deploy(tmp_path_factory, bucket):
    variables = bucket.variables() | {"DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    deploy = Deploy(tmp_path_factory.mktemp("deploy"), **variables)
    deploy.manage("migrate", "--noinput", "--verbosity", "0")
    deploy.manage("createsuperuser", "--noinput", "--email", "ada@example.com")
    bucket.server.accept_posts_from(deploy.address)
    deploy.start_web()
    deploy.worker = deploy.start("worker")
    deploy.worker.wait_for("ready")
    yield deploy
    deploy.close()


@pytest.fixture
def open_photos(browser, deploy):
    """Open the page of photos, signed in; the console's complaints are in its `complaints`."""
    contexts = []

    def open_page(screen="desk", **options):
        # The authority of the bucket's certificate is the tests' own.
        context = browser.new_context(base_url=deploy.address, ignore_https_errors=True, **SCREENS[screen], **options)
        contexts.append(context)
        page = context.new_page()
        page.complaints, page.requests = [], []
        page.on("console", lambda entry: entry.type in ("error", "warning") and page.complaints.append(entry.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("requestfinished", lambda request: page.requests.append(request))  # noqa: PLW0108  # Playwright marks it
        page.goto("/accounts/login/?next=/photos/")
        page.get_by_label("Email").fill("ada@example.com")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("main").get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/photos/")
        return page

    yield open_page
    for context in contexts:
        context.close()


def choose(page, name, content):
    page.locator("input[type=file]").set_input_files([{"name": name, "mimeType": "image/jpeg", "buffer": content}])


def send(page):
    page.get_by_role("main").get_by_role("button", name="Upload").click()


def sent(page, method, part):
    """The requests to an address with this part, each with the number of bytes in its body."""
    found = [each for each in page.requests if each.method == method and part in each.url]
    return [(each.response().status, int(each.all_headers()["content-length"])) for each in found]


@pytest.mark.parametrize("screen", SCREENS)
def test_the_bytes_go_to_the_bucket_and_the_name_to_the_site(open_photos, deploy, bucket, screen, screenshot):
    page = open_photos(screen)
    name, content = f"{screen}.jpg", landscape(2000, 1400, 148)
    choose(page, name, content)
    slow = page.context.new_cdp_session(page)
    slow.send("Network.enable")
    link = {"offline": False, "latency": 0, "downloadThroughput": -1}
    slow.send("Network.emulateNetworkConditions", link | {"uploadThroughput": 150_000})
    send(page)
    status = page.get_by_role("status")
    expect(status).to_contain_text(name)
    wait_until(lambda: 0 < page.locator("progress").evaluate("bar => bar.value") < 1, 30, "progress is shown")
    expect(page.get_by_role("button", name="Upload")).to_be_disabled()
    screenshot(page, f"{screen}-sending")
    slow.send("Network.emulateNetworkConditions", link | {"uploadThroughput": -1})

    page.get_by_text(f"“{name}” is uploaded.").wait_for(timeout=60_000)
    ((code, size),) = sent(page, "POST", bucket.address)
    assert (code, len(content) < size < len(content) + 3000) == (204, True)
    ((code, size),) = sent(page, "POST", f"{deploy.address}/photos/")[-1:]
    assert (code, size < 2000) == (302, True)
    page.get_by_text(name, exact=True).wait_for()
    shown = page.locator(f'main img[src^="{bucket.address}"][alt^="{screen}"]')
    wait_until(lambda: shown.count() == 1, 60, lambda: deploy.worker.text)
    wait_until(lambda: page.evaluate(LOADED), 30, "every picture is shown")
    screenshot(page, f"{screen}-photos-of-a-bucket")
    page.get_by_role("link", name=re.compile(name)).first.click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == name
    assert page.complaints == []


def test_what_is_refused_is_shown_on_the_page_and_can_be_tried_again(open_photos):
    page = open_photos()
    choose(page, "empty.jpg", b"")
    send(page)
    expect(page.get_by_role("status")).to_have_text("The file is empty.")
    choose(page, "text.jpg", b"no picture at all")
    send(page)
    page.get_by_text("The file is damaged or incomplete, or not an image").wait_for()
    choose(page, "good.jpg", landscape(640, 480, 60))
    send(page)
    page.get_by_text("is uploaded.").wait_for()


def test_a_bucket_that_falls_silent_is_given_up_and_the_file_goes_by_way_of_the_site(open_photos, bucket):
    page = open_photos()
    page.clock.install()
    choose(page, "stalled.jpg", landscape(640, 480, 90))
    bucket.fail("silent", ["POST"], times=1)
    before = bucket.counts["POST"]
    send(page)
    expect(page.get_by_role("status")).to_contain_text("Sending stalled.jpg")
    wait_until(lambda: bucket.counts["POST"] > before, 20, "the bucket is asked")
    page.clock.fast_forward(21_000)
    page.get_by_text("is uploaded.").wait_for()
    assert any("no progress" in complaint for complaint in page.complaints)
    bucket.pass_on()


def test_without_javascript_the_same_page_sends_the_file_to_the_site(open_photos, bucket):
    page = open_photos(java_script_enabled=False)
    choose(page, "plain.jpg", landscape(640, 480, 200))
    send(page)
    page.get_by_text("is uploaded.").wait_for()
    page.get_by_text("plain.jpg", exact=True).wait_for()
    assert sent(page, "POST", bucket.address) == []


def test_a_bucket_that_refuses_this_origin_gets_the_file_by_way_of_the_site(open_photos, deploy, bucket):
    bucket.server.accept_posts_from("https://elsewhere.example")
    page = open_photos()
    choose(page, "detour.jpg", landscape(640, 480, 30))
    send(page)
    page.get_by_text("is uploaded.").wait_for()
    assert any("CORS" in complaint for complaint in page.complaints)
    assert any("cannot be reached" in complaint for complaint in page.complaints)
    bucket.server.accept_posts_from(deploy.address)
