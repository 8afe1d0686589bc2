"""The object storage of tests/object_storage.py, and the front before it, do what tests rely on."""

import socket
import ssl
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)

from tests.object_storage import S3, Faulty
from tests.processes import NO_PROXY, wait_until
from tests.servers import is_running

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
BODY = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "tls"])
def server(request, certificates):
    with S3(certificates=certificates if request.param else None) as server:
        yield server


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "tls"])
def front(request, certificates):
    with S3() as server, Faulty(server, certificates if request.param else None) as front:
        yield front


@pytest.fixture
def client(front):
    """A client by way of the front, which is a good one again at the end."""
    trust = {"verify": str(front.certificates.ca)} if front.certificates else {}
    yield front.server.client(front.address, **trust)
    front.pass_on()


def code(info):
    return info.value.response["Error"]["Code"], info.value.response["ResponseMetadata"]["HTTPStatusCode"]


def by_link(server, link, method="GET", body=None, **headers):
    """What a browser does with a signed link; returns status and body."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    context = ssl.create_default_context(cafile=server.certificates.ca) if server.certificates else None
    opener = urllib.request.build_opener(NO_PROXY, urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(urllib.request.Request(link, body, headers, method=method), timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_it_keeps_lists_and_deletes(server):
    client = server.client()
    client.put_object(Bucket=server.bucket, Key="a/ü b", Body=BODY, ContentType="image/png")
    answer = client.get_object(Bucket=server.bucket, Key="a/ü b")
    assert (answer["Body"].read(), answer["ContentType"]) == (BODY, "image/png")
    assert [each["Key"] for each in client.list_objects_v2(Bucket=server.bucket, Prefix="a/")["Contents"]] == ["a/ü b"]
    client.delete_object(Bucket=server.bucket, Key="a/ü b")
    with pytest.raises(ClientError) as info:
        client.get_object(Bucket=server.bucket, Key="a/ü b")
    assert code(info) == ("NoSuchKey", 404)


def test_it_refuses_a_wrong_secret_a_wrong_key_and_nobody(server):
    for login, told in (
        ({"aws_secret_access_key": "another"}, ("SignatureDoesNotMatch", 403)),
        ({"aws_access_key_id": "ANOTHER"}, ("InvalidAccessKeyId", 403)),
    ):
        with pytest.raises(ClientError) as info:
            server.client(**login).list_objects_v2(Bucket=server.bucket)
        assert code(info) == told
    server.client().put_object(Bucket=server.bucket, Key="private", Body=b"x")
    assert by_link(server, f"{server.address_at(server.port)}/{server.bucket}/private")[0] == 403


def test_a_link_is_good_until_it_expires(server):
    client = server.client()
    client.put_object(Bucket=server.bucket, Key="linked", Body=BODY)
    where = {"Params": {"Bucket": server.bucket, "Key": "linked"}}
    link = client.generate_presigned_url("get_object", **where, ExpiresIn=60)
    assert by_link(server, link) == (200, BODY)
    assert by_link(server, link.replace("linked", "others"))[0] == 403
    link = client.generate_presigned_url("get_object", **where, ExpiresIn=1)
    status, told = wait_until(lambda: (answer := by_link(server, link))[0] != 200 and answer, 10, "the link expires")
    assert (status, b"AccessDenied" in told) == (403, True)


def test_a_signed_put_takes_the_signed_length_and_type_only(server):
    client = server.client()
    signed = {"Bucket": server.bucket, "Key": "put", "ContentType": "image/png", "ContentLength": 4}
    link = client.generate_presigned_url("put_object", Params=signed, ExpiresIn=60)
    assert by_link(server, link, "PUT", b"12345", Content_Type="image/png")[0] == 403
    assert by_link(server, link, "PUT", b"1234", Content_Type="text/html")[0] == 403
    assert "Contents" not in client.list_objects_v2(Bucket=server.bucket, Prefix="put")
    assert by_link(server, link, "PUT", b"1234", Content_Type="image/png")[0] == 200
    assert client.get_object(Bucket=server.bucket, Key="put")["Body"].read() == b"1234"


@pytest.mark.parametrize("server", [True], ids=["tls"], indirect=True)
def test_with_certificates_it_refuses_a_plain_client_and_an_unknown_authority(server):
    with pytest.raises(SSLError):
        server.client(verify=True).list_buckets()
    with pytest.raises(HTTPClientError):
        server.client(server.address_at(server.port).replace("https:", "http:")).list_buckets()


def test_after_a_stop_it_starts_again_with_what_it_had(server):
    client, pids = server.client(), server.pids()
    client.put_object(Bucket=server.bucket, Key="kept", Body=b"value")
    server.stop()
    assert not any(map(is_running, pids))
    with pytest.raises(EndpointConnectionError):
        client.list_buckets()
    server.start()
    assert client.get_object(Bucket=server.bucket, Key="kept")["Body"].read() == b"value"


def test_frozen_it_is_silent_until_thawed(server):
    server.freeze()
    try:
        with pytest.raises((ReadTimeoutError, ConnectTimeoutError)):
            server.client(seconds=1).list_buckets()
    finally:
        server.thaw()
    assert server.client().list_buckets()["Buckets"]


def test_at_its_end_no_process_and_no_file_is_left():
    with S3() as server:
        pids = [each.child.pid for each in (*server.store, server.process)]
        assert all(map(is_running, pids))
    assert not any(map(is_running, pids))
    assert not server.folder.exists()


def test_a_front_passes_all_on_and_counts(front, client):
    front.counts.clear()
    client.put_object(Bucket=front.server.bucket, Key="passed", Body=BODY)
    assert client.get_object(Bucket=front.server.bucket, Key="passed")["Body"].read() == BODY
    assert client.head_object(Bucket=front.server.bucket, Key="passed")["ContentLength"] == len(BODY)
    assert client.list_objects_v2(Bucket=front.server.bucket, Prefix="passed")["KeyCount"] == 1
    client.delete_object(Bucket=front.server.bucket, Key="passed")
    assert front.counts == {"PUT": 1, "GET": 2, "HEAD": 1, "DELETE": 1}


def test_a_front_passes_large_bodies_on_as_they_come(front, client):
    large = BODY * 200
    client.put_object(Bucket=front.server.bucket, Key="large", Body=large)
    assert client.get_object(Bucket=front.server.bucket, Key="large")["Body"].read() == large


@pytest.mark.parametrize("front", [True], ids=["tls"], indirect=True)
def test_a_front_with_certificates_refuses_a_plain_client(front):
    with pytest.raises(HTTPClientError):
        front.server.client(front.address.replace("https:", "http:")).list_buckets()


def test_a_front_before_a_server_with_certificates(certificates):
    with S3(certificates=certificates) as server, Faulty(server, certificates) as front:
        assert server.client(front.address).list_buckets()["Buckets"]


def test_a_front_refuses_connections_and_then_lets_them_in_again(front, client):
    assert client.list_buckets()
    front.refuse()
    with pytest.raises((EndpointConnectionError, ConnectionClosedError)):
        client.list_buckets()  # its open connection is gone too
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", front.port), timeout=3)
    front.pass_on()
    assert client.list_buckets()


def test_a_silent_front_takes_connections_and_does_not_answer(front):
    trust = {"verify": str(front.certificates.ca)} if front.certificates else {}
    front.fail("silent")
    with pytest.raises(ReadTimeoutError):
        front.server.client(front.address, seconds=1, **trust).list_buckets()
    front.pass_on()
    assert front.server.client(front.address, **trust).list_buckets()


@pytest.mark.parametrize(("how", "status"), [("SlowDown", 503), ("RequestTimeTooSkewed", 403)])
def test_a_front_answers_with_an_error_of_s3_so_many_times(front, client, how, status):
    front.fail(how, times=2)
    for ask in (
        lambda: client.list_objects_v2(Bucket=front.server.bucket),
        lambda: client.put_object(Bucket=front.server.bucket, Key="refused", Body=BODY),
    ):
        with pytest.raises(ClientError) as info:
            ask()
        assert code(info) == (how, status)
    assert "Contents" not in client.list_objects_v2(Bucket=front.server.bucket, Prefix="refused")


def test_ceph_too_says_that_a_clock_is_skewed(server, monkeypatch):
    an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).replace(tzinfo=None)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: an_hour_ago)
    with pytest.raises(ClientError) as info:
        server.client().list_objects_v2(Bucket=server.bucket)
    assert code(info) == ("RequestTimeTooSkewed", 403)


def test_a_front_dies_in_the_middle_of_a_download(front, client):
    client.put_object(Bucket=front.server.bucket, Key="half", Body=BODY)
    front.fail("half", methods=["GET"])
    with pytest.raises((IncompleteReadError, ResponseStreamingError, ConnectionClosedError)):
        client.get_object(Bucket=front.server.bucket, Key="half")["Body"].read()
    assert client.head_object(Bucket=front.server.bucket, Key="half")["ContentLength"] == len(BODY)


def test_a_front_dies_in_the_middle_of_an_upload_and_nothing_is_kept(front, client):
    front.fail("half", methods=["PUT"], times=1)
    with pytest.raises(HTTPClientError):
        client.put_object(Bucket=front.server.bucket, Key="half-put", Body=BODY)
    assert "Contents" not in client.list_objects_v2(Bucket=front.server.bucket, Prefix="half-put")
    client.put_object(Bucket=front.server.bucket, Key="half-put", Body=BODY)


def test_a_front_loses_the_answer_to_what_was_done(front, client):
    front.fail("deaf", methods=["PUT"])
    with pytest.raises(ConnectionClosedError):
        client.put_object(Bucket=front.server.bucket, Key="deaf", Body=BODY)
    assert client.head_object(Bucket=front.server.bucket, Key="deaf")["ContentLength"] == len(BODY)


def test_a_front_delays(front, client):
    front.delay(1)
    started = time.monotonic()
    client.list_buckets()
    assert time.monotonic() - started >= 1
