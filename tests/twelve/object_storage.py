"""Object storage for the tests: Ceph's S3, an emulator of Google's, and a front that spoils what passes through it."""

import base64
import collections
import contextlib
import email.message
import email.policy
import http.client
import io
import json
import re
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import boto3
import certifi
import google_crc32c
from botocore.config import Config
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.twelve.processes import DIRECT, ROOT, free_port, program
from tests.twelve.servers import Server
from twelve.services import storage, tls

CA_VARIABLE = "TLS_CA_FILE"


def send_form(form, content, headers=None, **changed):
    """Send a file by a signed form as a browser does, with some fields or headers changed; returns the status."""
    body = b"".join(
        f'--limit\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (form["fields"] | changed).items()
    )
    body += b'--limit\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + content
    headers = {"Content-Type": "multipart/form-data; boundary=limit"} | (headers or {})
    request = urllib.request.Request(form["url"], body + b"\r\n--limit--\r\n", headers, method="POST")
    try:
        with DIRECT.open(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


class S3(Server):
    """Ceph's gateway, with a monitor and a store in memory behind it: it checks signatures, expiry and what was signed.

    Only the gateway is stopped and frozen. The store goes on, so that after a start the objects are there.
    """

    programs = ("radosgw",)
    bucket, prefix = "tests-bucket", "media"
    access_key, secret_key = "TESTS-ACCESS-KEY", "tests/secret+key"  # as AWS's: a secret may have slashes
    store = ()

    def url_at(self, port):
        return f"s3://{self.bucket}/{self.prefix}?endpoint_url={self.address_at(port)}&region=default"

    def address_at(self, port):
        return f"{'https' if self.certificates else 'http'}://localhost:{port}"

    def variables(self, front=None):
        """The variables of a deploy whose media are here, or here behind a front."""
        front = front or self
        found = {
            "MEDIA_STORAGE_URL": front.url,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "MEDIA_DIRECT_UPLOAD": "on",
        }
        return found | ({CA_VARIABLE: str(front.certificates.ca)} if front.certificates else {})

    def storage(self, front=None, **limits):
        """The setting of a storage for a test in this process."""
        front = front or self
        policy = tls.Policy(True, str(front.certificates.ca) if front.certificates else certifi.where())
        account = {"key": self.access_key, "secret": self.secret_key}
        return storage.parse_url(front.url, {"timeout": 5, "link_seconds": 3600} | limits, account, policy)

    def client(self, address=None, seconds=20, **options):
        """A client of the server's own, without retries; `options` are those of boto3.client()."""
        config = Config(
            connect_timeout=5, read_timeout=seconds, retries={"total_max_attempts": 1}, proxies={},
            signature_version="s3v4", s3={"addressing_style": "path"},
            request_checksum_calculation="when_required", response_checksum_validation="when_required",
        )  # fmt: skip
        login = {"aws_access_key_id": self.access_key, "aws_secret_access_key": self.secret_key}
        address = {"endpoint_url": address or self.address_at(self.port), "region_name": "default"}
        trust = {"verify": str(self.certificates.ca)} if self.certificates else {}
        return boto3.session.Session().client("s3", **{"config": config, **login, **address, **trust, **options})

    def prepare(self):
        self.store = []
        cluster, osd, monitor = str(uuid.uuid4()), str(uuid.uuid4()), f"v2:127.0.0.1:{free_port()}"
        settings = {
            "fsid": cluster,
            "mon host": f"[{monitor}]",
            "public addr": "127.0.0.1",
            "cluster addr": "127.0.0.1",
            "ms bind msgr1": "false",  # the older protocol, on ports of its own
            "keyring": self.folder / "keyring",
            "mon data": self.folder / "mon",
            "osd data": self.folder / "osd",
            "rgw data": self.folder,
            "run dir": self.folder,
            "crash dir": self.folder,
            "admin socket": self.folder / "$name.$pid.socket",
            "log to file": "false",
            "log to stderr": "true",
            "mon cluster log to file": "false",
            "paxos propose interval": "0.01",  # a second for each change, otherwise
            "osd objectstore": "memstore",
            "memstore device bytes": 2 * 1024**3,
            "osd crush chooseleaf type": "0",
            "osd pool default size": "1",
            "osd pool default pg num": "1",
            "osd pool default pg autoscale mode": "off",
            "rgw rados pool pg num min": "1",
            "mon allow pool size one": "true",
        }
        for classes in Path("/usr/lib").glob("*/rados-classes"):  # Debian 13 has it relative to the root
            settings["osd class dir"] = classes
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        (self.folder / "ceph.conf").write_text(f"[global]\n{lines}\n")
        self.environment["CEPH_CONF"] = str(self.folder / "ceph.conf")
        for folder in ("mon", "osd"):
            (self.folder / folder).mkdir()
        (self.folder / "keyring").touch()
        for name in ("mon.", "client.admin", "osd.0", "client.rgw.a"):
            allowed = [word for kind in ("mon", "osd", "mgr") for word in ("--cap", kind, "allow *")]
            self.run(program("ceph-authtool"), "keyring", "--gen-key", "--name", name, *allowed)
        self.run(program("monmaptool"), "--create", "--addv", "a", f"[{monitor}]", "--fsid", cluster, "monmap")
        self.run(program("ceph-mon"), "--mkfs", "--id", "a", "--monmap", "monmap", "--keyring", "keyring")
        self.store.append(self.launch("mon", program("ceph-mon"), "-f", "--id", "a"))
        self.run(program("ceph"), "osd", "new", osd)
        self.run(program("ceph-osd"), "--mkfs", "--id", "0", "--osd-uuid", osd)
        self.store.append(self.launch("osd", program("ceph-osd"), "-f", "--id", "0"))
        self.run(
            program("radosgw-admin"), "user", "create", "--uid", "tests", "--display-name", "tests",
            "--access-key", self.access_key, "--secret-key", self.secret_key,
        )  # fmt: skip

    def command(self):
        frontend = f"beast endpoint=127.0.0.1:{self.port}"
        if self.certificates:
            frontend = f"beast ssl_endpoint=127.0.0.1:{self.port} ssl_certificate={self.folder}/server.pem"
            frontend += f" ssl_private_key={self.folder}/key.pem"
        return [self.program, "-f", "--name", "client.rgw.a", f"--rgw-frontends={frontend}"]

    def start(self):
        super().start()
        self.client().create_bucket(Bucket=self.bucket)

    def ask(self):
        self.client().list_buckets()

    def accept_posts_from(self, origin):
        """Set the CORS rule of docs/backing-services.md, for another origin."""
        text = (ROOT / "docs/backing-services.md").read_text()
        rules = json.loads(re.search(r"--cors-configuration '(.+?)'", text, re.DOTALL)[1])
        rules["CORSRules"][0]["AllowedOrigins"] = [origin]
        self.client().put_bucket_cors(Bucket=self.bucket, CORSConfiguration=rules)

    def change_secret(self, secret):
        """Give the key another secret: a client with the old one signs wrongly."""
        self.run(
            program("radosgw-admin"), "key", "create", "--uid", "tests",
            "--access-key", self.access_key, "--secret-key", secret,
        )  # fmt: skip

    def objects(self):
        """Every key in the bucket with its content."""
        client, found = self.client(), {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for entry in page.get("Contents", ()):
                with contextlib.suppress(client.exceptions.NoSuchKey):  # deleted meanwhile
                    found[entry["Key"]] = client.get_object(Bucket=self.bucket, Key=entry["Key"])["Body"].read()
        return found

    def delete(self, *keys):
        for key in keys:
            self.client().delete_object(Bucket=self.bucket, Key=key)

    def empty(self):
        """Make the bucket anew, without objects, rules and policy."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            if objects := [{"Key": entry["Key"]} for entry in page.get("Contents", ())]:
                client.delete_objects(Bucket=self.bucket, Delete={"Objects": objects})
        client.delete_bucket(Bucket=self.bucket)
        client.create_bucket(Bucket=self.bucket)

    def close(self):
        for process in self.store:
            process.kill()
        super().close()


class Faulty:
    """A front before S3 that reads what passes, counts it, and spoils it if asked; with certificates it is a TLS proxy.

    `url` is the way through it. It begins as a good one.
    """

    def __init__(self, server, certificates=None):
        self.server, self.certificates, self.port = server, certificates, free_port()
        self.counts, self.sockets, self.listener = collections.Counter(), set(), None
        self.lock, self.over = threading.Lock(), threading.Event()
        self.pass_on()

    @property
    def address(self):
        return f"{'https' if self.certificates else 'http'}://localhost:{self.port}"

    @property
    def url(self):
        return f"s3://{self.server.bucket}/{self.server.prefix}?endpoint_url={self.address}&region=default"

    def variables(self):
        return self.server.variables(self)

    def pass_on(self):
        """Pass everything on from now on, and release the clients that wait for an answer."""
        self.fail(None)
        self.seconds = 0
        if self.listener is None:
            self.listener = ThreadingHTTPServer(("127.0.0.1", self.port), type("Handler", (Front,), {"front": self}))
            if self.certificates:
                context = self.certificates.server_context()
                # The handshake is the business of each connection's own thread.
                self.listener.socket = context.wrap_socket(
                    self.listener.socket, server_side=True, do_handshake_on_connect=False
                )
            threading.Thread(target=self.listener.serve_forever, args=[0.05], daemon=True).start()

    def fail(self, how, methods=(), times=sys.maxsize):
        """From now on, fail so many requests, of these methods or of all, in one of these ways:

        "silent": no answer, and nothing is closed.
        "SlowDown": S3's answer to a client that asks too much, 503.
        "RequestTimeTooSkewed": S3's answer to a clock that is wrong, 403. No clock is turned.
        "NotImplemented": Backblaze's answer to a condition that it does not know, 501.
        "half": half of the body is received, or else half of the answer sent, and the connection reset.
        "deaf": what was asked is done, and the connection reset before the answer.
        """
        with self.lock:
            self.over.set()  # a client that waits in silence gets a reset
            self.how, self.methods, self.times, self.over = how, methods, times, threading.Event()

    def delay(self, seconds):
        """Wait so long before each request is passed on."""
        self.seconds = seconds

    def refuse(self):
        """Close the port and reset what is open."""
        if self.listener:
            self.listener.shutdown()
            self.listener.server_close()
            self.listener = None
        for connection in list(self.sockets):
            reset(connection)

    def take(self, method):
        """Count the request; the way in which it fails, and the event that ends its silence."""
        with self.lock:
            self.counts[method] += 1
            if not self.times or (self.methods and method not in self.methods):
                return None, self.over
            self.times -= 1
            return self.how, self.over

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.refuse()
        self.over.set()


def reset(connection):
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


REFUSALS = {"SlowDown": 503, "RequestTimeTooSkewed": 403, "NotImplemented": 501}


def chunks(source, length):
    """So many bytes of a stream, a piece at a time; ConnectionResetError if it breaks off."""
    while length:
        if not (chunk := source.read(min(length, 65536))):
            raise ConnectionResetError
        length -= len(chunk)
        yield chunk


class Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    front: Faulty

    def setup(self):
        super().setup()
        self.front.sockets.add(self.connection)

    def finish(self):
        self.front.sockets.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def handle(self):
        with contextlib.suppress(OSError):
            super().handle()

    def log_message(self, *arguments):
        pass

    def handle_any(self):
        how, over = self.front.take(self.command)
        length = int(self.headers.get("Content-Length", 0))
        if how == "silent":
            over.wait()
            self.hang_up()
        elif how in REFUSALS:
            collections.deque(chunks(self.rfile, length), maxlen=0)
            self.refuse(how)
        elif how == "half" and length:
            collections.deque(chunks(self.rfile, length // 2), maxlen=0)
            self.hang_up()
        else:
            time.sleep(self.front.seconds)
            with contextlib.closing(self.ask()) as server:
                for chunk in chunks(self.rfile, length):
                    server.send(chunk)
                answer = server.getresponse()
                if how != "deaf":
                    self.pass_back(answer, how == "half")
            if how:
                self.hang_up()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = handle_any  # noqa: N815  # the names of http.server

    def ask(self):
        """The way to the server, with the head of the request sent."""
        if self.front.server.certificates:
            context = ssl.create_default_context(cafile=self.front.server.certificates.ca)
            server = http.client.HTTPSConnection("localhost", self.front.server.port, timeout=60, context=context)
        else:
            server = http.client.HTTPConnection("127.0.0.1", self.front.server.port, timeout=60)
        server.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in ("connection", "expect"):  # the 100 Continue is out already
                server.putheader(name, value)
        server.endheaders()
        return server

    def pass_back(self, answer, half):
        # What comes in chunks, without a length, is short: lists and refusals.
        body = io.BytesIO(answer.read()) if answer.chunked else answer
        length = len(body.getvalue()) if answer.chunked else answer.length or 0
        if half and not length:
            return  # there is no half of an answer without a body
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding"):
                self.send_header(name, value)
        if answer.chunked:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        for chunk in chunks(body, length // 2 if half else length):
            self.wfile.write(chunk)

    def refuse(self, code):
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as the test wants</Message></Error>".encode()
        self.send_response(REFUSALS[code])
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def hang_up(self):
        self.close_connection = True
        self.wfile.flush()
        reset(self.connection)


class GoogleEmulator:
    """As much of Google Cloud Storage's JSON API as its client uses here: it checks no signature and no permission."""

    bucket, prefix = "tests-bucket", "media"

    def __init__(self):
        self.objects, self.sessions, self.lock = {}, {}, threading.Lock()
        self.status = 0  # what every request is answered with, if it is not 0
        self.requests = 0  # how many asked for an object
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (GoogleHandler,), {"emulator": self}))
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        account = {"type": "service_account", "project_id": "tests", "client_email": "tests@tests.example"}
        self.credentials = json.dumps(account | {"private_key": pem, "token_uri": f"{self.address}/token"})

    @property
    def url(self):
        return f"gs://{self.bucket}/{self.prefix}"

    def variables(self):
        emulator = {"STORAGE_EMULATOR_HOST": self.address}  # read by Google's client
        return emulator | {"MEDIA_STORAGE_URL": self.url, "GOOGLE_CREDENTIALS": self.credentials}

    def storage(self):
        """The setting of a storage for a test in this process, which has STORAGE_EMULATOR_HOST in its environment."""
        policy = tls.Policy(True, certifi.where())
        return storage.parse_url(self.url, {"timeout": 2, "link_seconds": 3600}, {"google": self.credentials}, policy)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


class GoogleHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    emulator: GoogleEmulator

    def log_message(self, *arguments):
        pass

    def answer(self, status, content=b"", **headers):
        if not isinstance(content, bytes):
            content, headers = json.dumps(content).encode(), {"Content_Type": "application/json"} | headers
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def missing(self, what):
        self.answer(404, {"error": {"code": 404, "message": what}})

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        query = dict(parse_qsl(query))
        parts = [unquote(part) for part in path.strip("/").split("/")]
        emulator = self.emulator
        if path == "/token":
            return self.answer(200, {"access_token": "tests", "expires_in": 3600, "token_type": "Bearer"})
        if "o" in parts:
            emulator.requests += 1
        if emulator.status:
            return self.answer(emulator.status, {"error": {"code": emulator.status, "message": "as the test wants"}})
        if "b" not in parts:  # a signed link
            return self.download(unquote(path).removeprefix(f"/{emulator.bucket}/"), query)
        if parts[parts.index("b") + 1] != emulator.bucket:
            return self.missing("The specified bucket does not exist.")
        with emulator.lock:
            if parts[0] == "upload":
                return self.upload(query, body)
            name = "/".join(parts[parts.index("o") + 1 :])
            if not name:
                return self.list(query)
            if name not in emulator.objects:
                return self.missing(f"No such object: {emulator.bucket}/{name}")
            if self.command == "DELETE":
                del emulator.objects[name]
                return self.answer(204)
            if query.get("alt") == "media":
                return self.download(name, query)
            return self.answer(200, emulator.objects[name][0])

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815  # the names of http.server

    def download(self, name, query):
        if name not in self.emulator.objects:
            return self.missing("No such object")
        content = self.emulator.objects[name][1]
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not found:
            disposition = query.get("response-content-disposition", "attachment")
            return self.answer(200, content, Content_Disposition=disposition)
        start, end = int(found[1]), min(int(found[2] or len(content)), len(content) - 1)
        where = {"Content_Range": f"bytes {start}-{end}/{len(content)}"}
        return self.answer(206, content[start : end + 1], **where)

    def list(self, query):
        prefix, start, size = query.get("prefix", ""), query.get("startOffset", ""), int(query.get("maxResults", 1000))
        start = max(start, query.get("pageToken", ""))
        found = sorted(name for name in self.emulator.objects if name.startswith(prefix) and name >= start)
        page = {"items": [self.emulator.objects[name][0] for name in found[:size]]}
        self.answer(200, page | ({"nextPageToken": found[size]} if found[size:] else {}))

    def upload(self, query, body):
        if query["uploadType"] == "multipart":
            message = email.message_from_bytes(
                b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body, policy=email.policy.HTTP
            )
            about, content = message.iter_parts()
            kind = {"contentType": content.get_content_type()}
            return self.keep(kind | json.loads(about.get_payload(decode=True)), content.get_payload(decode=True))
        if "upload_id" not in query:
            session = uuid.uuid4().hex
            kind = {"contentType": self.headers["X-Upload-Content-Type"]}
            self.emulator.sessions[session] = [kind | json.loads(body), b""]
            return self.answer(200, Location=f"{self.emulator.address}{self.path}&upload_id={session}")
        session = self.emulator.sessions[query["upload_id"]]
        session[1] += body
        if not self.headers["Content-Range"].endswith(f"/{len(session[1])}"):
            return self.answer(308, Range=f"bytes=0-{len(session[1]) - 1}")
        return self.keep(*session)

    def keep(self, about, content):
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        crc = base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
        facts = {"bucket": self.emulator.bucket, "size": str(len(content)), "updated": now, "crc32c": crc}
        self.emulator.objects[about["name"]] = (about | facts, content)
        self.answer(200, about | facts)
