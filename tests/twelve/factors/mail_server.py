"""A mail server for the tests: takes every mail and keeps it."""

import socketserver
import threading
from contextlib import contextmanager


class Handler(socketserver.StreamRequestHandler):
    def say(self, text):
        self.wfile.write(f"{text}\r\n".encode())

    def handle(self):
        self.say("220 ready")
        while line := self.rfile.readline():
            verb = line.split()[0].upper()
            if verb == b"DATA":
                self.say("354 go on")
                self.server.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            if verb == b"EHLO":
                self.say("250-tests")
                self.say("250 AUTH PLAIN")
            elif verb == b"AUTH":
                self.say("235 welcome")
            elif verb == b"QUIT":
                self.say("221 bye")
                break
            else:
                self.say("250 done")


@contextmanager
def mail_server():
    """A server on a free port of 127.0.0.1, whose `mails` are the bytes received."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads, server.mails = True, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
