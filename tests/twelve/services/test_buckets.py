"""Where media are kept: what MEDIA_STORAGE_URL and the variables of platforms and add-ons say, and what is refused."""

from urllib.parse import urlsplit

import pytest

from tests.twelve.attached import attach, complaints, without
from tests.twelve.processes import run
from twelve.services import storage as buckets
from twelve.services.tls import Policy

CA = "/ca.pem"
LIMITS = {"timeout": 5, "link_seconds": 60}
ACCOUNT = {"key": "the-key-id", "secret": "hunter2+/"}
VERIFIED = Policy(True, CA)
WITHOUT = without("MEDIA_STORAGE_URL")
KEY = {"AWS_ACCESS_KEY_ID": "the-key-id", "AWS_SECRET_ACCESS_KEY": "hunter2+/"}
SECRETS = ("hunter2", "the-key-id", "the-token")


def parse(url, policy=VERIFIED, **account):
    return buckets.parse_url(url, LIMITS, ACCOUNT | account, policy)


def options(url, **access):
    return parse(url, **access)["OPTIONS"]


def taken(**variables):
    """The options of the storage with these variables and no MEDIA_STORAGE_URL of GOOD's."""
    attached = attach(WITHOUT | variables)
    assert attached.env.problems == []
    return attached.STORAGES["default"]["OPTIONS"]


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
    assert found["BACKEND"] == "twelve.services.storage.s3.BucketStorage"
    assert found["OPTIONS"].items() >= expected.items()


def test_a_directory():
    assert parse("file:///srv/my%20media")["OPTIONS"] == {"location": "/srv/my media", "link_seconds": 60}
    assert parse("file://")["OPTIONS"]["location"] == "var/media"  # below the folder of the project


def test_a_bucket_of_google(monkeypatch):
    monkeypatch.setattr(buckets, "google_is_installed", lambda: True)
    found = parse("gs://bucket/prefix", google="{}")
    expected = LIMITS | {"bucket_name": "bucket", "location": "prefix", "service_account": "{}"}
    assert found == {"BACKEND": "twelve.services.storage.gcs.BucketStorage", "OPTIONS": expected}


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


def test_certificates_are_verified_unless_the_policy_says_otherwise():
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
        ({"AWS_REGION": "eu-west-1", "TLS_UNVERIFIED": "s3"}, {"verify": False}),
    ],
)  # fmt: skip
def test_the_usual_variables_complete_the_url(variables, expected):
    assert taken(MEDIA_STORAGE_URL="s3://bucket", **KEY, **variables).items() >= expected.items()


def test_the_url_wins_over_the_usual_variables():
    url = "s3://bucket?region=auto&endpoint_url=https://r2.example.com"
    found = taken(MEDIA_STORAGE_URL=url, **KEY, AWS_REGION="eu-west-1", AWS_ENDPOINT_URL_S3="http://minio:9000")
    assert (found["region_name"], found["endpoint_url"]) == ("auto", "https://r2.example.com")


def test_the_limits_are_those_of_the_settings():
    variables = WITHOUT | KEY | {"MEDIA_STORAGE_URL": f"s3://bucket{REGION}"}
    found = attach(variables, storage={"timeout": 7, "link_seconds": 9}).STORAGES["default"]["OPTIONS"]
    assert (found["timeout"], found["link_seconds"]) == (7, 9)


def test_the_lines_of_a_private_key_are_masked_in_events():
    key = "-----BEGIN PRIVATE KEY-----\\n" + "\\n".join(letter * 64 for letter in "abc") + "\\n-----END"
    text = f'{{"client_email": "a@b.example", "private_key": "{key}", "token_uri": "https://oauth.example/token"}}'
    values = attach(WITHOUT | {"MEDIA_STORAGE_URL": "file://", "GOOGLE_CREDENTIALS": text}).env.secret_values()
    assert [letter * 64 in values for letter in "abc"] == [True, True, True]


@pytest.mark.parametrize(
    ("variables", "name", "words"),
    [
        ({}, "MEDIA_STORAGE_URL", "is not set"),
        ({"MEDIA_STORAGE_URL": ""}, "MEDIA_STORAGE_URL", "is blank"),
        ({"MEDIA_STORAGE_URL": "ftp://bucket"}, "MEDIA_STORAGE_URL", "the schemes served are s3, gs, file"),
        (KEY | {"MEDIA_STORAGE_URL": "s3://b-1", "AWS_ENDPOINT_URL_S3": "b"}, "MEDIA_STORAGE_URL", "endpoint_url"),
        ({"MEDIA_STORAGE_URL": f"s3://b-1{REGION}", "AWS_ACCESS_KEY_ID": "key"}, "MEDIA_STORAGE_URL", "has one of"),
        ({"MEDIA_STORAGE_URL": f"s3://key:hunter2@b-1{REGION}"}, "MEDIA_STORAGE_URL", "has credentials"),
        ({"MEDIA_STORAGE_URL": "gs://bucket", "GOOGLE_CREDENTIALS": "hunter2"}, "GOOGLE_CREDENTIALS", "not the JSON"),
        ({"MEDIA_STORAGE_URL": "gs://bucket", "GOOGLE_CREDENTIALS": "[]"}, "GOOGLE_CREDENTIALS", "private_key"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_reported_at_once(variables, name, words):
    found = complaints(WITHOUT | variables)
    assert words in found[name]
    assert not any(secret in text for secret in SECRETS for text in found.values())


def test_no_secret_is_shown():
    for variables in (
        {"MEDIA_STORAGE_URL": f"s3://bucket{REGION}", **KEY, "AWS_SESSION_TOKEN": "the-token"},
        {"MEDIA_STORAGE_URL": f"s3://the-key-id:hunter2@bucket{REGION}"},
        {"MEDIA_STORAGE_URL": "file://", "GOOGLE_CREDENTIALS": '{"private_key": "hunter2"}'},
        {"MEDIA_STORAGE_URL": "s3://the-key-id:sec/rethunter2@bucket"},
        {"MEDIA_STORAGE_URL": f"s3://bucket{REGION}&secret_key=hunter2"},
        {"MEDIA_STORAGE_URL": "s3://bucket?endpoint_url=https%3A%2F%2Fu%3Ahunter2%40host"},
    ):
        env = attach(WITHOUT | variables).env
        assert "MEDIA_STORAGE_URL" in env.variables
        shown = [*(variable.shown for variable in env.variables.values()), *map(str, env.problems)]
        assert not any(secret in text for secret in SECRETS for text in shown)


def test_no_secret_is_printed():
    url = f"s3://the-key-id:hunter2@bucket{REGION}"
    mine = KEY | {"MEDIA_STORAGE_URL": url, "AWS_SESSION_TOKEN": "the-token"}
    result = run(("python", "manage.py", "env"), **WITHOUT | mine)
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
    from twelve.services.storage.s3 import BucketStorage

    storage = BucketStorage(**options(url))
    for link in (storage.url("a b.png"), storage.presign_post("a b.png", 1, 60)["url"]):
        parts = urlsplit(link)
        assert f"{parts.scheme}://{parts.netloc}" == origin
        (source,) = buckets.sources(parse(url))
        assert link.startswith(source if source.endswith("/") else f"{source}/")


def test_the_origin_of_google_and_that_of_a_directory(monkeypatch):
    monkeypatch.setattr(buckets, "google_is_installed", lambda: True)
    assert buckets.sources(parse("gs://bucket")) == ["https://storage.googleapis.com/bucket/"]
    assert buckets.sources(parse("file://")) == []
