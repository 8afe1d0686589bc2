"""Where media are kept: what MEDIA_STORAGE_URL and the variables of platforms and add-ons say, and what is refused."""

import json
import os
from urllib.parse import urlsplit

import pytest

from config import buckets
from config.settings.tls import Policy
from tests.processes import GOOD, named, run, told

CA = "/ca.pem"
LIMITS = {"timeout": 5, "link_seconds": 60}
ACCOUNT = buckets.Account("the-key-id", "hunter2+/")
VERIFIED = Policy(True, CA)
SHOW = (
    "import json, config.env; from config.env import env; from config import settings; env.exit_on_problems('worker'); "
)
WITHOUT = {name: value for name, value in GOOD.items() if name != "MEDIA_STORAGE_URL"}
KEY = {"AWS_ACCESS_KEY_ID": "the-key-id", "AWS_SECRET_ACCESS_KEY": "hunter2+/"}
SECRETS = ("hunter2", "the-key-id", "the-token")


def parse(url, policy=VERIFIED, service_account="", **account):
    return buckets.parse(url, LIMITS, {"": ACCOUNT._replace(**account)}, policy, service_account)


def options(url, **access):
    return parse(url, **access)["OPTIONS"]


def taken(**variables):
    """The options of the storage in a process with these variables and no MEDIA_STORAGE_URL of GOOD's."""
    command = ("python", "-c", f"{SHOW} print(json.dumps(settings.STORAGES['default']))")
    result = run(command, **WITHOUT, **variables)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)["OPTIONS"]


def refusal(**variables):
    result = run(("python", "-c", SHOW), **WITHOUT | variables)
    assert result.returncode == 1
    assert not any(secret in result.stdout + result.stderr for secret in SECRETS)
    return result


# -- The URL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "s3://bucket?region=eu-central-1",
            {
                "bucket_name": "bucket", "location": "", "region_name": "eu-central-1", "addressing_style": "virtual",
                "endpoint_url": "https://s3.eu-central-1.amazonaws.com", "verify": CA, "timeout": 5, "link_seconds": 60,
                "access_key": "the-key-id", "secret_key": "hunter2+/", "security_token": None,
            },
        ),
        ("S3://bucket/pre/fix/?region=eu-central-1", {"location": "pre/fix"}),
        ("s3://bucket/caf%C3%A9%20%23%3F?region=eu-central-1", {"location": "café #?"}),
        ("s3://bucket?region=cn-north-1", {"endpoint_url": "https://s3.cn-north-1.amazonaws.com.cn"}),
        ("s3://bu.cket?region=eu-central-1", {"addressing_style": "path"}),
        ("s3://bu_cket?region=eu-central-1&addressing_style=virtual", {"addressing_style": "path"}),
        ("s3://bucket?region=eu-central-1&addressing_style=path", {"addressing_style": "path"}),
        (
            "s3://bucket?endpoint_url=https://minio.example.com:9000/",
            {
                "endpoint_url": "https://minio.example.com:9000", "region_name": "us-east-1",
                "addressing_style": "path",
            },
        ),
        ("s3://bucket?endpoint_url=http%3A%2F%2F%5B::1%5D:9000", {"endpoint_url": "http://[::1]:9000"}),
        (
            "s3://bucket?endpoint_url=https://fly.storage.tigris.dev&addressing_style=virtual&region=auto",
            {"addressing_style": "virtual", "region_name": "auto"},
        ),
    ],
)  # fmt: skip
def test_a_bucket_of_s3(url, expected):
    found = parse(url)
    assert found["BACKEND"] == "config.s3.BucketStorage"
    assert found["OPTIONS"].items() >= expected.items()


def test_a_directory():
    assert parse("file:///srv/my%20media")["OPTIONS"] == {"location": "/srv/my media"}
    assert parse("file://")["OPTIONS"]["location"].endswith("/var/media")


def test_a_bucket_of_google(monkeypatch):
    monkeypatch.setattr(buckets, "google_is_installed", lambda: True)
    found = parse("gs://bucket/prefix", service_account="{}")
    expected = LIMITS | {"bucket_name": "bucket", "location": "prefix", "service_account": "{}"}
    assert found == {"BACKEND": "config.gcs.BucketStorage", "OPTIONS": expected}


REGION = "?region=eu-central-1"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"s3://bucket/a#b{REGION}", "has a # in it; write it as %23"),
        ("file://srv/media", "names a host; write a directory with three slashes"),
        (f"s3://key:hunter2@bucket{REGION}", "has credentials or a port in it; write the name of the bucket alone"),
        (f"s3://bucket:9000{REGION}", "has credentials or a port in it"),
        (f"s3://{REGION}", "names no bucket: ''; write it after the slashes, as in s3://bucket/prefix"),
        (f"s3:///prefix{REGION}", "names no bucket: ''"),
        (f"s3://Bucket{REGION}", "names no bucket: 'Bucket'"),
        (f"s3://bu{REGION}&region", "names no bucket: 'bu'"),
        ("gs://BUCKET", "names no bucket: 'BUCKET'; write it after the slashes, as in gs://bucket/prefix"),
        ("s3://bucket?reigon=eu", "has the parameter 'reigon'; region, endpoint_url, addressing_style may be given"),
        ("gs://bucket?region=eu", "has the parameter 'region'; none may be given"),
        ("file:///srv/media?region=eu", "has the parameter 'region'; none may be given"),
        (f"s3://bucket{REGION}&account=nobody", "has the parameter 'account'"),
        ("s3://bucket", "names no region; add ?region=eu-central-1, or ?endpoint_url=https://"),
        ("s3://bucket?region=", "names no region"),
        (f"s3://bucket{REGION}&addressing_style=auto", "has addressing_style=auto; path or virtual may be given"),
        ("s3://bucket?endpoint_url=minio:9000", "has an endpoint_url that is not https://host or https://host:port"),
        ("s3://bucket?endpoint_url=https://", "has an endpoint_url that is not"),
        ("s3://bucket?endpoint_url=https://host/bucket", "has an endpoint_url that is not"),
        ("s3://bucket?endpoint_url=https://u:hunter2@host", "has an endpoint_url that is not"),
        ("s3://bucket?endpoint_url=https://host:port", "has an endpoint_url that is not"),
        ("s3://bucket/a/../b?region=eu-central-1", "has a prefix with"),
        ("s3://bucket/a//b?region=eu-central-1", "has a prefix with"),
        ("s3://bucket/a/%2E%2E?region=eu-central-1", "has a prefix with"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(url, words):
    with pytest.raises(ValueError) as refused:
        parse(url)
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_google_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(buckets, "google_is_installed", lambda: False)
    with pytest.raises(ValueError, match=r"pip install -r requirements/gcs\.txt"):
        parse("gs://bucket")


@pytest.mark.parametrize("missing", ["key", "secret"])
def test_half_a_key_is_refused_and_none_means_the_role(missing):
    with pytest.raises(ValueError, match="has one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; set both, or none"):
        parse(f"s3://bucket{REGION}", **{missing: ""})
    found = options(f"s3://bucket{REGION}", key="", secret="", token="the-token")
    assert (found["access_key"], found["secret_key"], found["security_token"]) == (None, None, None)


def test_certificates_are_verified_unless_told_not_to():
    assert options(f"s3://bucket{REGION}", policy=Policy(False, CA))["verify"] is False


# -- The environment --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-west-2"}, {"region_name": "eu-west-1"}),
        ({"AWS_DEFAULT_REGION": "us-west-2"}, {"endpoint_url": "https://s3.us-west-2.amazonaws.com"}),
        (
            {"AWS_ENDPOINT_URL_S3": "http://minio:9000"},
            {"endpoint_url": "http://minio:9000", "addressing_style": "path", "region_name": "us-east-1"},
        ),
        ({"AWS_REGION": "eu-west-1", "AWS_SESSION_TOKEN": "the-token"}, {"security_token": "the-token"}),
        ({"AWS_REGION": "eu-west-1", "S3_TLS_VERIFY": "false"}, {"verify": False}),
        ({"AWS_REGION": "eu-1", "MEDIA_TIMEOUT": "7", "MEDIA_LINK_SECONDS": "9"}, {"timeout": 7, "link_seconds": 9}),
    ],
)  # fmt: skip
def test_the_usual_variables_complete_the_url(variables, expected):
    assert taken(MEDIA_STORAGE_URL="s3://bucket", **KEY, **variables).items() >= expected.items()


def test_the_url_wins_over_the_usual_variables():
    url = "s3://bucket?region=auto&endpoint_url=https://r2.example.com"
    found = taken(MEDIA_STORAGE_URL=url, **KEY, AWS_REGION="eu-west-1", AWS_ENDPOINT_URL_S3="http://minio:9000")
    assert (found["region_name"], found["endpoint_url"]) == ("auto", "https://r2.example.com")


BUCKETEER = {
    "BUCKETEER_BUCKET_NAME": "bucketeer-1234",
    "BUCKETEER_AWS_REGION": "us-east-2",
    "BUCKETEER_AWS_ACCESS_KEY_ID": "the-key-id",
    "BUCKETEER_AWS_SECRET_ACCESS_KEY": "hunter2+/",
}
CLOUDCUBE = {
    "CLOUDCUBE_URL": "https://cloud-cube-eu.s3.amazonaws.com/f0ld3r",
    "CLOUDCUBE_ACCESS_KEY_ID": "the-key-id",
    "CLOUDCUBE_SECRET_ACCESS_KEY": "hunter2+/",
}
TIGRIS = KEY | {
    "BUCKET_NAME": "tigris-1",
    "AWS_ENDPOINT_URL_S3": "https://fly.storage.tigris.dev",
    "AWS_REGION": "auto",
}
RAILWAY = {
    "BUCKET": "railway-1",
    "ENDPOINT": "https://storage.railway.app",
    "REGION": "auto",
    "ACCESS_KEY_ID": "the-key-id",
    "SECRET_ACCESS_KEY": "hunter2+/",
}


@pytest.mark.parametrize(
    ("variables", "bucket", "location", "region", "endpoint", "style"),
    [
        (BUCKETEER, "bucketeer-1234", "", "us-east-2", "https://s3.us-east-2.amazonaws.com", "virtual"),
        (CLOUDCUBE, "cloud-cube-eu", "f0ld3r", "eu-west-1", "https://s3.eu-west-1.amazonaws.com", "virtual"),
        (TIGRIS, "tigris-1", "", "auto", "https://fly.storage.tigris.dev", "virtual"),
        (RAILWAY, "railway-1", "", "auto", "https://storage.railway.app", "virtual"),
    ],
    ids=["Bucketeer", "Cloudcube", "Tigris", "Railway"],
)
def test_the_bucket_of_a_platform(variables, bucket, location, region, endpoint, style):
    found = taken(**variables)
    expected = {"bucket_name": bucket, "location": location, "region_name": region, "endpoint_url": endpoint}
    expected |= {"addressing_style": style, "access_key": "the-key-id", "secret_key": "hunter2+/"}
    assert found.items() >= expected.items()


def test_a_key_is_that_of_its_bucket_whatever_else_is_set():
    mail = {"AWS_ACCESS_KEY_ID": "of-mail", "AWS_SECRET_ACCESS_KEY": "of-mail", "AWS_SESSION_TOKEN": "of-mail"}
    elsewhere = mail | {"AWS_REGION": "eu-north-1", "AWS_ENDPOINT_URL_S3": "https://elsewhere.example"}
    for variables in (BUCKETEER, CLOUDCUBE, RAILWAY):
        found = taken(**elsewhere | variables)
        assert (found["access_key"], found["secret_key"], found["security_token"]) == ("the-key-id", "hunter2+/", None)
        assert "elsewhere" not in found["endpoint_url"]
    by_role = taken(MEDIA_STORAGE_URL=f"s3://bucket{REGION}", ACCESS_KEY_ID="other", SECRET_ACCESS_KEY="other")
    assert by_role["access_key"] is None


def test_the_lines_of_a_private_key_are_masked_in_events():
    key = "-----BEGIN PRIVATE KEY-----\\n" + "\\n".join(letter * 64 for letter in "abc") + "\\n-----END"
    text = f'{{"client_email": "a@b.example", "private_key": "{key}", "token_uri": "https://oauth.example/token"}}'
    code = f"{SHOW} values = config.env.env.secret_values(); print([letter * 64 in values for letter in 'abc'])"
    result = run(("python", "-c", code), **WITHOUT, MEDIA_STORAGE_URL="file://", GOOGLE_CREDENTIALS=text)
    assert result.stdout == "[True, True, True]\n", result.stderr


@pytest.mark.parametrize(
    ("url", "made"),
    [
        ("https://cloud-cube.s3.amazonaws.com/f", "s3://cloud-cube/f?account=cloudcube&region=us-east-1"),
        ("https://cloud-cube-us2.s3.amazonaws.com/f", "s3://cloud-cube-us2/f?account=cloudcube&region=us-east-1"),
        ("https://cloud-cube-jp.s3.amazonaws.com/f", "s3://cloud-cube-jp/f?account=cloudcube&region=ap-northeast-1"),
        ("https://some.s3.eu-north-1.amazonaws.com/f", "s3://some/f?account=cloudcube&region=eu-north-1"),
    ],
)
def test_the_region_of_a_cube(url, made):
    assert buckets.from_cloudcube(url) == made


@pytest.mark.parametrize(
    ("variables", "bucket"),
    [
        (BUCKETEER | CLOUDCUBE | {"MEDIA_STORAGE_URL": "s3://mine?region=eu-west-1"}, "mine"),
        (RAILWAY | CLOUDCUBE | BUCKETEER, "bucketeer-1234"),
        (RAILWAY | CLOUDCUBE, "cloud-cube-eu"),
        (RAILWAY | TIGRIS, "tigris-1"),
        (RAILWAY | {"BUCKET_NAME": "anybodys"}, "railway-1"),
    ],
)
def test_the_first_of_several_is_taken(variables, bucket):
    assert taken(**variables)["bucket_name"] == bucket


@pytest.mark.parametrize(
    ("variables", "name", "words"),
    [
        ({"BUCKET": "anybodys"}, "MEDIA_STORAGE_URL", "is not set"),
        ({"BUCKET_NAME": "anybodys", "REGION": "eu"}, "MEDIA_STORAGE_URL", "is not set"),
        (RAILWAY | {"MEDIA_STORAGE_URL": ""}, "MEDIA_STORAGE_URL", "is blank"),
        ({"MEDIA_STORAGE_URL": "ftp://bucket"}, "MEDIA_STORAGE_URL", "the schemes served are s3, gs, file"),
        ({"CLOUDCUBE_URL": "https://example.com/f"}, "CLOUDCUBE_URL", "is not of the form https://bucket.s3."),
        ({"BUCKETEER_BUCKET_NAME": "bucketeer-1"}, "BUCKETEER_BUCKET_NAME", "names no region"),
        (KEY | {"MEDIA_STORAGE_URL": "s3://b-1", "AWS_ENDPOINT_URL_S3": "b"}, "MEDIA_STORAGE_URL", "endpoint_url"),
        ({"MEDIA_STORAGE_URL": f"s3://b-1{REGION}", "AWS_ACCESS_KEY_ID": "key"}, "MEDIA_STORAGE_URL", "has one of"),
        ({"MEDIA_STORAGE_URL": f"s3://key:hunter2@b-1{REGION}"}, "MEDIA_STORAGE_URL", "has credentials"),
        ({"MEDIA_STORAGE_URL": "gs://bucket", "GOOGLE_CREDENTIALS": "hunter2"}, "GOOGLE_CREDENTIALS", "not the JSON"),
        ({"MEDIA_STORAGE_URL": "gs://bucket", "GOOGLE_CREDENTIALS": "[]"}, "GOOGLE_CREDENTIALS", "private_key"),
        ({"MEDIA_STORAGE_URL": "file://", "MEDIA_LINK_SECONDS": "604801"}, "MEDIA_LINK_SECONDS", "above 604800"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_at_once(variables, name, words):
    result = refusal(**variables)
    assert name in named(result)
    assert words in told(result)


def test_no_secret_is_shown():
    for variables in (
        {"MEDIA_STORAGE_URL": f"s3://bucket{REGION}", **KEY, "AWS_SESSION_TOKEN": "the-token"},
        BUCKETEER,
        CLOUDCUBE,
        RAILWAY,
        {"MEDIA_STORAGE_URL": f"s3://the-key-id:hunter2@bucket{REGION}"},
        {"MEDIA_STORAGE_URL": "file://", "GOOGLE_CREDENTIALS": '{"private_key": "hunter2"}'},
        {"MEDIA_STORAGE_URL": "s3://the-key-id:sec/rethunter2@bucket"},
        {"MEDIA_STORAGE_URL": f"s3://bucket{REGION}&secret_key=hunter2"},
        {"MEDIA_STORAGE_URL": "s3://bucket?endpoint_url=https%3A%2F%2Fu%3Ahunter2%40host"},
    ):
        result = run(("python", "manage.py", "env"), **WITHOUT, **variables)
        assert "MEDIA_STORAGE_URL" in result.stdout
        assert not any(secret in result.stdout + result.stderr for secret in SECRETS)


# -- What follows from it ---------------------------------------------------------------------------------------------

ADDRESSES = {
    "AWS us-east-1": ("s3://bucket?region=us-east-1", "https://bucket.s3.us-east-1.amazonaws.com"),
    "AWS eu-central-1": ("s3://bucket/p?region=eu-central-1", "https://bucket.s3.eu-central-1.amazonaws.com"),
    "AWS in China": ("s3://bucket?region=cn-north-1", "https://bucket.s3.cn-north-1.amazonaws.com.cn"),
    "a dot": ("s3://bu.cket?region=eu-central-1", "https://s3.eu-central-1.amazonaws.com"),
    "an underscore": ("s3://bu_cket?region=eu-central-1", "https://s3.eu-central-1.amazonaws.com"),
    "R2": ("s3://bucket?region=auto&endpoint_url=https://a1.r2.example.com", "https://a1.r2.example.com"),
    "B2": ("s3://bucket?region=eu-3&endpoint_url=https://s3.eu-3.b2.example.com", "https://s3.eu-3.b2.example.com"),
    "MinIO": ("s3://bucket?endpoint_url=http://minio:9000", "http://minio:9000"),
    "an address": ("s3://bucket?endpoint_url=http://[::1]:9000&addressing_style=virtual", "http://[::1]:9000"),
    "an old address": (
        "s3://bucket?endpoint_url=http://127.0.0.1:9000&addressing_style=virtual",
        "http://127.0.0.1:9000",
    ),
    "Tigris": (
        "s3://bucket?region=auto&addressing_style=virtual&endpoint_url=https://fly.storage.tigris.dev",
        "https://bucket.fly.storage.tigris.dev",
    ),
    "a dot at Tigris": (
        "s3://bu.cket?region=auto&addressing_style=virtual&endpoint_url=https://fly.storage.tigris.dev",
        "https://fly.storage.tigris.dev",
    ),
}


@pytest.mark.parametrize(("url", "origin"), ADDRESSES.values(), ids=ADDRESSES)
def test_the_origin_is_that_of_a_signed_link(url, origin):
    """Computed by the client itself, which asks no server for it."""
    from config.s3 import BucketStorage

    storage = BucketStorage(**options(url))
    for link in (storage.url("a b.png"), storage.presign_put("a b.png", "image/png", 1, 60)):
        parts = urlsplit(link)
        assert f"{parts.scheme}://{parts.netloc}" == origin
        (source,) = buckets.sources(parse(url))
        assert link.startswith(source if source.endswith("/") else f"{source}/")


def test_the_origin_of_google_and_that_of_a_directory(monkeypatch):
    monkeypatch.setattr(buckets, "google_is_installed", lambda: True)
    assert buckets.sources(parse("gs://bucket")) == ["https://storage.googleapis.com/bucket/"]
    assert buckets.sources(parse("file://")) == []


POLICY = """
import django
django.setup()
from django.test import Client
print(Client().get("/", secure=True, HTTP_HOST="localhost")["Content-Security-Policy"])
"""


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (f"s3://bucket{REGION}", "https://bucket.s3.eu-central-1.amazonaws.com"),
        ("file://", ""),
        ("s3://bucket?endpoint_url=https://s3.example.com", "https://s3.example.com/bucket/"),
    ],
)
def test_a_page_may_load_media_from_the_bucket_and_put_them_there_if_it_is_safe(url, origin):
    variables = GOOD | KEY | {"DJANGO_SETTINGS_MODULE": "config.settings", "STATIC_ROOT": os.environ["STATIC_ROOT"]}
    result = run(("python", "-c", POLICY), **variables | {"MEDIA_STORAGE_URL": url})
    assert result.returncode == 0, result.stderr
    policy = dict(part.strip().partition(" ")[::2] for part in result.stdout.split(";"))
    allowed = f"'self' {origin}".strip()
    assert policy["img-src"] == allowed
    assert policy["connect-src"] == (allowed if "example.com" not in url else "'self'")
    command = ("python", "-c", POLICY)
    turned_on = run(command, **variables | {"MEDIA_STORAGE_URL": url, "MEDIA_DIRECT_UPLOAD": "on"}).stdout
    assert f"connect-src {allowed}" in turned_on
    turned_off = run(command, **variables | {"MEDIA_STORAGE_URL": url, "MEDIA_DIRECT_UPLOAD": "off"}).stdout
    assert "connect-src 'self'" in turned_off
    assert "amazonaws" not in policy["script-src"]


START = """
import sys
import config.settings, django
django.setup()
import config.urls
print([name for name in sys.modules if name.startswith(("boto", "s3transfer", "google.", "storages"))])
"""


def test_the_web_process_starts_without_the_client():
    variables = GOOD | KEY | {"DJANGO_SETTINGS_MODULE": "config.settings", "MEDIA_STORAGE_URL": f"s3://bucket{REGION}"}
    result = run(("python", "-c", START), **variables)
    assert result.stdout.strip() == "[]", result.stderr
