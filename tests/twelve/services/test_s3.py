"""Media in a bucket, on Ceph's S3: what is saved, read, listed and signed, by whom, and in how much memory."""

import http.server
import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.exceptions import SuspiciousOperation, ValidationError
from django.core.files.base import ContentFile

from tests.twelve.object_storage import CA_VARIABLE, S3, Faulty, send_form
from tests.twelve.processes import DIRECT, GOOD, run, wait_until
from tests.twelve.races import PROCESSES, ROUNDS, THREADS, save_at_once
from twelve.services.storage import StorageError, UploadField, delete_media, received_files, sign_upload
from twelve.services.storage.s3 import BucketStorage

pytestmark = pytest.mark.prove

KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def server(s3):
    return s3


@pytest.fixture(scope="module")
def secure(certificates):
    with S3(certificates=certificates) as server:
        yield server


@pytest.fixture
def storage(server):
    """A storage whose objects are below a prefix; what an earlier test left is deleted."""
    server.empty()
    return BucketStorage(**server.storage()["OPTIONS"])


def stored(server, name):
    """What the server says of an object."""
    return server.client().head_object(Bucket=server.bucket, Key=f"{server.prefix}/{name}")


def fetch(url, content=None, **headers):
    """The status and the headers of an answer to someone who has nothing but the link."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    method = "GET" if content is None else "PUT"
    try:
        with DIRECT.open(urllib.request.Request(url, content, headers, method=method), timeout=10) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers


def in_process(code, variables):
    """Run lines with `storage`, that of a deploy with these variables; returns what they print, as JSON."""
    head = "import django; django.setup(); from django.core.files.storage import default_storage as storage\n"
    result = run(("python", "-c", head + code), **GOOD, DJANGO_SETTINGS_MODULE="config.settings", **variables)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def deploy(server, *without):
    variables = server.variables() | {"HOME": "/nowhere", "AWS_EC2_METADATA_DISABLED": "true"}
    return {name: value for name, value in variables.items() if name not in without}


GOOD = {name: value for name, value in GOOD.items() if name != "MEDIA_STORAGE_URL"}

# -- Objects ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["server", "secure"])
def test_an_object_is_saved_read_measured_listed_and_deleted(kind, request):
    storage = BucketStorage(**request.getfixturevalue(kind).storage()["OPTIONS"])
    name = storage.save("a/b/née #1.txt", ContentFile(b"content"))
    assert name == "a/b/née #1.txt"
    with storage.open(name) as file:
        assert file.read() == b"content"
    assert (storage.exists(name), storage.size(name)) == (True, 7)
    assert datetime.now(UTC) - storage.get_modified_time(name) < timedelta(minutes=1)
    assert storage.listdir("a") == (["b"], [])
    assert storage.listdir("a/b") == ([], ["née #1.txt"])
    storage.delete(name)
    storage.delete(name)
    assert not storage.exists(name)
    for miss in (storage.open, storage.size, storage.get_modified_time):
        with pytest.raises(FileNotFoundError, match=r"a/b/née #1\.txt"):
            miss(name)


def test_nothing_is_overwritten(storage):
    first, second = (storage.save("a.txt", ContentFile(content)) for content in (b"old", b"new"))
    assert first != second
    assert (storage.open(first).read(), storage.open(second).read()) == (b"old", b"new")


def test_simultaneous_saves_of_one_name_keep_every_content(storage, server):
    saved = save_at_once(server.storage(), "a.txt")
    assert len(saved) == PROCESSES * THREADS * ROUNDS
    assert {name: [storage.open(name).read()] for name in saved} == saved
    assert {f"{turn}/a.txt" for turn in range(ROUNDS)} < set(saved)
    assert {key.removeprefix(f"{server.prefix}/") for key in server.objects()} == set(saved)


def test_an_answer_that_is_lost_makes_no_second_object(server, storage):
    with Faulty(server) as front:
        front.fail("deaf", ["PUT"], times=1)
        storage = BucketStorage(**server.storage(front)["OPTIONS"])
        assert storage.save("a.txt", ContentFile(b"content")) == "a.txt"
        assert front.counts["PUT"] == 2
    assert server.objects() == {f"{server.prefix}/a.txt": b"content"}


def test_a_server_that_knows_no_condition_is_asked_without_one(server, storage, monkeypatch):
    monkeypatch.setattr(BucketStorage, "condition", BucketStorage.condition)  # put back after the test
    with Faulty(server) as front:
        storage = BucketStorage(**server.storage(front)["OPTIONS"])
        front.fail("NotImplemented", ["PUT"], times=1)
        assert storage.save("a.txt", ContentFile(b"content")) == "a.txt"
        assert (storage.open("a.txt").read(), front.counts["PUT"]) == (b"content", 2)
        assert storage.save("b.txt", ContentFile(b"content")) == "b.txt"
        assert front.counts["PUT"] == 3
        front.fail("NotImplemented", ["PUT"])
        with pytest.raises(StorageError, match="NotImplemented"):
            storage.save("c.txt", ContentFile(b"content"))


def test_text_is_saved_in_utf_8(storage):
    assert storage.open(storage.save("a.txt", ContentFile("née"))).read() == "née".encode()


@pytest.mark.parametrize("size", [0, 8 * 1024 * 1024, 8 * 1024 * 1024 + 1, 20_000_000])
def test_every_size_arrives_whole(storage, size):
    content = bytes(range(251)) * (size // 251 + 1)
    name = storage.save("sized", ContentFile(content[:size]))
    assert storage.size(name) == size
    assert storage.open(name).read() == content[:size]


def test_an_object_has_its_type_and_is_never_shown_as_a_page(storage, server):
    file = ContentFile(b"<script>")
    file.content_type = "image/webp"
    head = stored(server, storage.save("a.html", file))
    assert (head["ContentType"], head["ContentDisposition"]) == ("image/webp", "attachment")
    assert head["CacheControl"] == "private, max-age=3600"


def test_no_request_speaks_of_access_lists_and_each_is_signed(storage):
    requests = []
    storage.client.meta.events.register("before-send.s3", lambda request, **_: requests.append(request))
    storage.save("large", ContentFile(bytes(9 * 1024 * 1024)))
    storage.open("large").close()
    storage.delete("large")
    assert [request.method for request in requests] == ["HEAD", "PUT", "GET", "DELETE"]  # the large one whole
    for request in requests:
        names = {name.lower() for name in request.headers}
        assert not [name for name in names if "acl" in name or "grant" in name]
        assert "acl" not in parse_qs(urlsplit(request.url).query, keep_blank_values=True)
        assert request.headers["Authorization"].startswith(b"AWS4-HMAC-SHA256 ")


def test_more_keys_than_a_page_are_listed(storage, server):
    names = sorted(f"photos/{number:04}/original" for number in range(1005))

    def put(name):
        client.put_object(Bucket=server.bucket, Key=f"{server.prefix}/{name}", Body=b"x")

    client = server.client()
    with ThreadPoolExecutor(8) as crowd:
        list(crowd.map(put, [*names, "photos-of-others/x", "other"]))
    client.put_object(Bucket=server.bucket, Key="photos/above", Body=b"x")
    assert [name for name, _changed in storage.list_objects("photos")] == names
    assert [name for name, _changed in storage.list_objects("photos/0007")] == ["photos/0007/original"]
    assert list(storage.list_objects("nothing")) == []
    folders, files = storage.listdir("photos")
    assert (len(folders), files) == (1005, [])


def test_without_a_prefix_the_names_are_the_keys(server):
    server.empty()
    storage = BucketStorage(**server.storage()["OPTIONS"] | {"location": ""})
    storage.save("photos/a", ContentFile(b"x"))
    assert [name for name, _changed in storage.list_objects("photos")] == ["photos/a"]
    assert server.client().head_object(Bucket=server.bucket, Key="photos/a")["ContentLength"] == 1


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/../outside"])
def test_the_prefix_is_a_boundary(storage, server, name):
    server.client().put_object(Bucket=server.bucket, Key="outside", Body=b"not ours")
    for reach in (
        storage.open,
        storage.delete,
        storage.exists,
        storage.size,
        storage.url,
        lambda name: storage.save(name, ContentFile(b"x")),
        lambda name: storage.presign_post(name, 1, 60),
        lambda name: list(storage.list_objects(name)),
    ):
        with pytest.raises(SuspiciousOperation):
            reach(name)
    assert server.client().get_object(Bucket=server.bucket, Key="outside")["Body"].read() == b"not ours"


# -- Links ------------------------------------------------------------------------------------------------------------


def test_a_link_is_valid_for_its_time_and_for_its_object(storage):
    name = storage.save("a.txt", ContentFile(b"content"))
    storage.save("b.txt", ContentFile(b"another"))
    url = storage.url(name)
    query = parse_qs(urlsplit(url).query)
    assert (query["X-Amz-Algorithm"], query["X-Amz-Expires"]) == (["AWS4-HMAC-SHA256"], ["3600"])
    assert fetch(url)[0] == 200
    others = url.replace("a.txt", "b.txt"), url.replace("=3600", "=9999"), url.partition("?")[0]
    for other in (url[:-4] + "0000", *others):
        assert fetch(other)[0] == 403
    short = storage.url(name, expire=1)
    wait_until(lambda: fetch(short)[0] == 403, 30, "the link has expired")
    assert fetch(url)[0] == 200


def test_a_link_says_under_what_name_to_save_and_that_is_signed(storage):
    name = storage.save("a.txt", ContentFile(b"content"))
    disposition = 'attachment; filename="holiday.png"'
    url = storage.url(name, parameters={"ResponseContentDisposition": disposition})
    assert fetch(url)[1]["Content-Disposition"] == disposition
    assert fetch(storage.url(name))[1]["Content-Disposition"] == "attachment"
    assert fetch(url.replace("attachment", "inline"))[0] == 403
    assert fetch(f"{storage.url(name)}&response-content-disposition=inline")[0] == 403


def test_a_form_to_send_a_file_is_for_that_length_and_that_type_and_that_object_and_its_time(storage):
    form = storage.presign_post("sent", 7, 60)
    for content, changed in (
        (b"content and more", {}),
        (b"less", {}),
        (b"content", {"Content-Type": "text/html"}),
        (b"content", {"key": "other"}),
        (b"content", {"acl": "public-read"}),
        (b"content", {"x-amz-acl": "public-read"}),
        (b"content", {"x-amz-copy-source": "tests-bucket/media/other"}),
    ):
        assert 400 <= send_form(form, content, **changed) < 500, changed
    short = storage.presign_post("sent", 7, 1)
    wait_until(lambda: send_form(short, b"content") == 403, 30, "the form has expired")
    storage.delete("sent")
    assert send_form(short, b"content") == 403
    assert not storage.exists("sent")
    assert send_form(form, b"content") == 204
    assert storage.open("sent").read() == b"content"


def test_a_browser_sends_a_file_and_only_its_user_claims_it(storage, server, settings, rf):
    settings.STORAGES = settings.STORAGES | {"default": server.storage()}
    settings.MEDIA_DIRECT_UPLOAD = True
    user, other = SimpleNamespace(pk=1), SimpleNamespace(pk=2)
    form = sign_upload(user, "7")
    assert send_form(form, b"content") == 204

    def claim(user):
        request = rf.post("/", {"upload": form["upload"], "name": "a.png"})
        request.user = user
        return UploadField().clean(received_files(request, "file")["file"])

    with pytest.raises(ValidationError, match="did not arrive"):
        claim(other)
    file = claim(user)
    assert send_form(form, b"another") == 204  # changes nothing that was claimed
    assert (file.name, file.size, file.read()) == ("a.png", 7, b"content")
    file.seek(0)
    storage.save("app/a.png", file)
    delete_media(file.key)
    assert server.objects() == {f"{server.prefix}/app/a.png": b"content"}


# -- TLS and keys -----------------------------------------------------------------------------------------------------


def test_an_unknown_authority_is_refused_with_what_to_do(secure):
    row = run(("python", "manage.py", "probe_services"), **GOOD, **deploy(secure, CA_VARIABLE)).stdout
    (row,) = [line for line in row.splitlines() if line.startswith("media")]
    assert "certificate verify failed" in row
    assert "TLS_CA_FILE names a private authority, TLS_UNVERIFIED=s3 accepts any certificate" in row
    storage = BucketStorage(**secure.storage()["OPTIONS"] | {"verify": None})
    with pytest.raises(StorageError, match="could not look for a: SSL validation failed"):
        storage.exists("a")


@pytest.mark.parametrize(
    ("variables", "tls"), [({}, "verified"), ({CA_VARIABLE: None, "TLS_UNVERIFIED": "s3"}, "not verified")]
)
def test_tls_as_the_deploy_wants_it(secure, variables, tls):
    variables = {name: value for name, value in (deploy(secure) | variables).items() if value}
    rows = run(("python", "manage.py", "probe_services", "--json"), **GOOD, **variables).stdout
    (row,) = [row for row in json.loads(rows) if row["service"] == "media"]
    assert (row["state"], row["tls"], row["kind"]) == ("up", tls, "s3")


SAVE = """
import json
from django.core.files.base import ContentFile
print(json.dumps(storage.save('role', ContentFile(b'x'))))
"""


def test_the_key_of_a_file_at_home(server, storage, tmp_path):
    (tmp_path / ".aws").mkdir()
    lines = f"[default]\naws_access_key_id = {server.access_key}\naws_secret_access_key = {server.secret_key}\n"
    (tmp_path / ".aws/credentials").write_text(lines)
    assert in_process(SAVE, deploy(server, *KEYS) | {"HOME": str(tmp_path)}) == "role"


def test_the_key_that_a_platform_lends(server, storage):
    class Lender(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
            key = {"AccessKeyId": server.access_key, "SecretAccessKey": server.secret_key}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(key | {"Token": "", "Expiration": until}).encode())

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Lender) as lender:
        threading.Thread(target=lender.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{lender.server_port}/"
        role = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": url}
        assert in_process(SAVE, deploy(server, *KEYS) | role) == "role"
        lender.shutdown()


def test_no_key_at_all_is_reported(server):
    rows = run(("python", "manage.py", "probe_services"), **GOOD, **deploy(server, *KEYS)).stdout
    (row,) = [line for line in rows.splitlines() if line.startswith("media")]
    assert "Unable to locate credentials" in row
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the process a role" in row


# -- Processes, threads and memory ------------------------------------------------------------------------------------

CLIENTS = """
import json, os
from concurrent.futures import ThreadPoolExecutor
from django.core.files.base import ContentFile
import boto3

made, make = [], boto3.Session.resource
boto3.Session.resource = lambda *a, **k: made.append(os.getpid()) or make(*a, **k)

def work(number):
    content = bytes([number]) * 100_000
    names = [storage.save(f"crowd/{number}/{turn}", ContentFile(content)) for turn in range(5)]
    return all(storage.open(name).read() == content for name in names)

with ThreadPoolExecutor(8) as crowd:
    fine = all(crowd.map(work, range(8)))
reading, writing = os.pipe()
if not (child := os.fork()):
    storage.size("crowd/0/0")
    first = len(made)
    storage.save("crowd/child", ContentFile(b"x"))
    os.write(writing, json.dumps([first, len(made), made[-1] == os.getpid()]).encode())
    os._exit(0)
os.waitpid(child, 0)
print(json.dumps([fine, len(made), json.loads(os.read(reading, 1000))]))
"""


def test_threads_share_one_client_and_a_fork_has_its_own(server, storage):
    assert in_process(CLIENTS, deploy(server)) == [True, 1, [2, 2, True]]


STREAM = """
import json, re, sys
from django.core.files.base import File

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024

def pass_through(path):
    with open(path, "rb") as file:
        name = storage.save("streamed", File(file))
    size = 0
    with storage.open(name) as file:
        for chunk in file.chunks():
            size += len(chunk)
    assert size == storage.size(name)
    storage.delete(name)
    return peak()

print(json.dumps([pass_through(path) for path in PATHS]))
"""


def test_200_megabytes_pass_in_the_memory_of_a_small_file(server, storage, tmp_path):
    paths = [tmp_path / "small", tmp_path / "large"]
    paths[0].write_bytes(bytes(1000))
    with paths[1].open("wb") as file:
        file.truncate(200_000_000)
    small, large = in_process(STREAM.replace("PATHS", repr([str(path) for path in paths])), deploy(server))
    assert large - small < 16
