"""Bad networks for the tests: a port that never answers, and a proxy that turns bad at any time."""

import contextlib
import itertools
import socket
import struct
import threading
import time

from tests.twelve.processes import free_port


class Silent:
    """A port that takes connections and never answers: the system does so for a socket that nobody reads."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.listener.close()


class InTurn:
    """Web processes as one server of a Proxy, which gives each connection to the next of them."""

    url_at = "http://127.0.0.1:{}".format

    def __init__(self, *ports):
        self.ports = itertools.cycle(ports)

    @property
    def port(self):
        return next(self.ports)


class Proxy:
    """A network in front of a server, `url` being the way through it; it can be made a bad one at any time."""

    def __init__(self, server):
        self.server, self.port = server, free_port()
        self.url = server.url_at(self.port)
        self.listener, self.sockets = None, set()
        self.pass_on()

    def pass_on(self):
        """Be a good network again."""
        self.seconds, self.change_request, self.change_answer = 0, bytes, bytes
        if self.listener is None:
            self.listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self.accept, args=[self.listener], daemon=True).start()

    def delay(self, seconds):
        """Hold each chunk for so long, in both directions."""
        self.seconds = seconds

    def swallow(self):
        """Lose everything and close nothing, as a firewall does."""
        self.change_request = self.change_answer = lambda chunk: b""

    def garbage(self):
        """Make each answer nonsense."""
        self.change_answer = lambda chunk: b"\xff\x00nonsense\r\n"

    def cut(self):
        """Reset the connections there are."""
        for each in list(self.sockets):
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.shutdown(socket.SHUT_RDWR)

    def refuse(self):
        """Let no new connection in; those there are stay."""
        if self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)  # ends the thread's accept(), which close() would not
            self.listener.close()
            self.listener = None

    def accept(self, listener):
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.server.port), timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self.sockets |= {client, server}
                for source, target, change in ((client, server, "change_request"), (server, client, "change_answer")):
                    threading.Thread(target=self.pump, args=[source, target, change], daemon=True).start()

    def pump(self, source, target, change):
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                time.sleep(self.seconds)
                target.sendall(getattr(self, change)(chunk))
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.sockets.discard(source)
        source.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.refuse()
        self.cut()
