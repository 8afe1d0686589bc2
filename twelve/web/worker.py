"""gunicorn's gthread worker, changed so that a shutdown resets no connection and slow clients do not block the site.

Importing this raises ImportError for a gunicorn whose gthread differs from the one that was read, 27.0.
"""

import inspect
import os
import signal
import socket
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn import __version__
from gunicorn.workers.gthread import TConn, ThreadWorker

from twelve.web import clients

ACCEPT_SECONDS = 0.5  # in which the main process, which may get the signal a little later, closes its listener
CLOSERS = 32  # threads that wait, 2 s at most, until clients have closed their ends

SIGNATURES = {
    ThreadWorker: {
        "accept": "(self, listener)",
        "enqueue_req": "(self, conn)",
        "finish_request": "(self, conn, fs)",
        "get_thread_pool": "(self)",
        "handle": "(self, conn)",
        "handle_request": "(self, req, conn)",
        "load_wsgi": "(self)",
        "notify": "(self)",
        "on_client_socket_readable": "(self, conn, client)",
        "run": "(self)",
        "set_accept_enabled": "(self, enabled)",
        "wait_for_and_dispatch_events": "(self, timeout)",
    },
    TConn: {"close": "(self, graceful=False)", "set_timeout": "(self)"},
}
ATTRIBUTES = {
    ThreadWorker: {"keepalived_conns", "method_queue", "nr_conns", "poller", "tpool"},
    TConn: {"sock", "timeout"},
}


def differences() -> list[str]:
    """Return the names that this module uses of gthread, and that are not what they were when it was written."""
    found = []
    for kind, signatures in SIGNATURES.items():
        for name, expected in signatures.items():
            function = getattr(kind, name, None)
            if function is None or str(inspect.signature(function)) != expected:
                found.append(f"{kind.__name__}.{name}")
        found += [f"{kind.__name__}.{name}" for name in ATTRIBUTES[kind] - set(kind.__init__.__code__.co_names)]
    return sorted(found)


if found := differences():
    raise ImportError(f"gunicorn {__version__} differs in {', '.join(found)}")


class WebWorker(ThreadWorker):
    """Each method says which behaviour of gthread it mends; `test_worker.py` fails without any of them."""

    alive: bool
    tpool: ThreadPoolExecutor
    wsgi: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.busy: set[TConn] = set()  # connections whose request has a thread, or waits for one
        self.advanced = False  # a request has ended while others wait, and no connection was accepted since
        self.closers = ThreadPoolExecutor(CLOSERS)
        self.replaced = False

    def has_room(self) -> bool:
        """Return whether to accept a connection. Kept ones need no accept, and must not starve new ones."""
        return len(self.busy) < self.cfg.threads or self.advanced

    def set_accept_enabled(self, enabled: bool) -> None:
        """Accept while a thread is free, and at the stop all that the kernel has accepted; then refuse.

        gthread accepts up to 1000 connections, which wait for its threads while another process has free ones. At the
        stop it leaves the listener open without accepting, and the connections in it are reset when it ends.
        """
        super().set_accept_enabled(enabled and self.has_room())
        if enabled or self.alive:
            return
        until = time.monotonic() + ACCEPT_SECONDS
        while time.monotonic() < until:
            super().set_accept_enabled(self.has_room())
            self.wait_for_and_dispatch_events(timeout=0.05)
        super().set_accept_enabled(False)
        # What comes between the last accept and the close is reset, and other threads would keep the interpreter for
        # 5 ms in between.
        sys.setswitchinterval(0.0001)
        for listener in self.sockets:
            former = -1
            while former < self.nr_conns:
                former = self.nr_conns
                self.accept(listener)
            listener.close()

    def enqueue_req(self, conn: TConn) -> None:
        """Give a connection to a thread when it has sent something: in gthread a silent one holds a thread for 5 s."""
        if conn.timeout is None:  # it is new
            self.advanced = False
            conn.sock.setblocking(False)
            conn.set_timeout()
            self.keepalived_conns.append(conn)
            self.poller.register(conn.sock, EVENT_READ, partial(self.on_client_socket_readable, conn))
        else:
            self.busy.add(conn)
            super().enqueue_req(conn)
        if not self.has_room():
            super().set_accept_enabled(False)

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Close in a thread of its own: gthread's main loop waits 2 s for each client that does not close its end."""
        self.busy.discard(conn)
        self.advanced = len(self.busy) >= self.cfg.threads
        if fs.cancelled():  # `replace` has taken it from the threads that hang
            self.enqueue_req(conn)
        elif fs.exception() or fs.result():
            super().finish_request(conn, fs)
        else:
            closed = self.closers.submit(conn.close, graceful=True)
            closed.add_done_callback(lambda _: self.method_queue.defer(self.forget))

    def forget(self) -> None:
        self.nr_conns -= 1

    def load_wsgi(self) -> None:
        """Limit what the application waits for: gthread has no limit for a body, an answer or a view."""
        super().load_wsgi()
        self.wsgi = partial(clients.respond, self.wsgi)

    def handle(self, conn: TConn) -> Any:
        """Limit the time of the headers, for which gthread waits for ever."""
        exchange = clients.exchanges[threading.get_ident()] = clients.Exchange(conn.sock)
        exchange.wait_for_client(socket.SHUT_RD)
        try:
            return super().handle(conn)
        finally:
            del clients.exchanges[exchange.thread]

    def handle_request(self, req: Any, conn: TConn) -> Any:
        clients.exchanges[threading.get_ident()].wait_for_view()
        return super().handle_request(req, conn)

    def notify(self) -> None:
        """Check the time limits, every second at least."""
        super().notify()
        if clients.check():
            self.replace()

    def replace(self) -> None:
        """Serve with new threads, have another process started, and stop.

        gthread leaves a request that hangs its thread for ever, and the connections that wait for it unanswered.
        """
        self.tpool.shutdown(wait=False, cancel_futures=True)
        self.tpool = self.get_thread_pool()
        self.busy.clear()
        self.advanced = False
        if self.alive:
            self.replaced, self.alive = True, False
            os.kill(self.ppid, signal.SIGTTIN)

    def run(self) -> None:
        super().run()
        if self.replaced:
            os._exit(0)  # the interpreter would wait for the threads that hang
