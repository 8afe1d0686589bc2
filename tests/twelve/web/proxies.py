"""Proxies in front of web processes: Debian's HAProxy and nginx."""

import re

from tests.twelve.processes import ROOT
from tests.twelve.servers import Server, connects


class Proxy(Server):
    """In front of web processes that listen on these ports of 127.0.0.1."""

    def __init__(self, *ports):
        self.ports = ports
        super().__init__()

    def prepare(self):
        (self.folder / "proxy.conf").write_text(self.config())

    def config(self):
        raise NotImplementedError

    def ask(self):
        assert connects(self.port)


class HAProxy(Proxy):
    programs = ("haproxy", "/usr/sbin/haproxy")

    def config(self):
        servers = "\n".join(f" server web{port} 127.0.0.1:{port}" for port in self.ports)
        return (
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
            f"listen site\n option redispatch 1\n bind 127.0.0.1:{self.port}\n balance roundrobin\n{servers}\n"
        )

    def command(self):
        return [self.program, "-db", "-f", "proxy.conf"]


class Nginx(Proxy):
    """With the block of docs/deploy/nginx.conf, without its certificate."""

    programs = ("nginx", "/usr/sbin/nginx")

    def config(self):
        block = (ROOT / "docs/deploy/nginx.conf").read_text()
        block = re.sub(r"^ *ssl_certificate.+\n", "", block, flags=re.MULTILINE)
        for former, new in {
            "    server 127.0.0.1:8000;": "\n".join(f"    server 127.0.0.1:{port};" for port in self.ports),
            "listen 443 ssl;": f"listen 127.0.0.1:{self.port};",
            "www.example.com": "localhost",
        }.items():
            assert block.count(former) == 1, former
            block = block.replace(former, new)
        paths = "\n".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = f"daemon off;\npid {self.folder}/pid;\nerror_log stderr;\nevents {{ worker_connections 1024; }}\n"
        return f"{main}http {{\naccess_log off;\n{paths}\n{block}\n}}\n"

    def command(self):
        return [self.program, "-e", "stderr", "-p", str(self.folder), "-c", str(self.folder / "proxy.conf")]
