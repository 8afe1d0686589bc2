"""Object storage for the tests: Ceph's S3, an emulator of Google's, and a front that spoils what passes through it."""

import contextlib
import socket
import time
import uuid

import boto3
import certifi
from botocore.config import Config

from config import buckets
from config.settings import tls
from tests.networks import Proxy
from tests.processes import free_port, program
from tests.servers import Server

CA_VARIABLE = "S3_TLS_CA"


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
        }
        return found | ({CA_VARIABLE: str(front.certificates.ca)} if front.certificates else {})

    def storage(self, front=None, **limits):
        """The setting of a storage for a test in this process."""
        front = front or self
        policy = tls.Policy(True, str(front.certificates.ca) if front.certificates else certifi.where())
        key = {"access_key": self.access_key, "secret_key": self.secret_key, "security_token": ""}
        access = key | {"region": "", "endpoint_url": "", "tls": policy}
        return buckets.parse(front.url, {"timeout": 5, "link_seconds": 3600} | limits, access)

    def client(self, address=None, **options):
        """A client of the server's own, without retries; `options` are those of boto3.client()."""
        config = Config(
            connect_timeout=5, read_timeout=20, retries={"total_max_attempts": 1}, proxies={},
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

    def change_secret(self, secret):
        """From now on the key has another secret: who has the old one signs wrongly."""
        self.run(
            program("radosgw-admin"), "key", "create", "--uid", "tests",
            "--access-key", self.access_key, "--secret-key", secret,
        )  # fmt: skip

    def objects(self):
        """Every key in the bucket with its content."""
        client, found = self.client(), {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            for entry in page.get("Contents", ()):
                found[entry["Key"]] = client.get_object(Bucket=self.bucket, Key=entry["Key"])["Body"].read()
        return found

    def delete(self, *keys):
        for key in keys:
            self.client().delete_object(Bucket=self.bucket, Key=key)

    def close(self):
        for process in self.store:
            process.kill()
        super().close()


class Faulty(Proxy):
    """A network in front of a plain S3, which can also break off in the middle and answer instead of the server."""

    certificates = None

    def pass_on(self):
        self.error, self.limits, self.at_limit = b"", {}, "reset"
        super().pass_on()

    def answer(self, status, code, message):
        """Answer each request with this error of S3's, whatever is asked."""
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        self.error = [f"{head}Connection: close\r\n\r\n".encode(), body.encode()]
        self.cut()

    def stop_after(self, *, up=None, down=None, how="reset"):
        """From so many bytes of a connection on, sent up or down, reset it, or swallow the rest of it."""
        self.limits, self.at_limit = {"change_request": up, "change_answer": down}, how
        self.cut()

    def pump(self, source, target, change):
        passed = 0
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                if self.error and change == "change_request":
                    head, body = self.error
                    source.sendall(head if chunk.startswith(b"HEAD") else head + body)
                    source.shutdown(socket.SHUT_WR)
                    while source.recv(65536):  # a close with something unread would be a reset
                        pass
                    break
                passed += len(chunk)
                limit = self.limits.get(change)
                if limit and passed > limit and self.at_limit == "reset":
                    self.cut()
                    break
                time.sleep(self.seconds)
                if not limit or passed <= limit:
                    target.sendall(getattr(self, change)(chunk))
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.sockets.discard(source)
        source.close()
