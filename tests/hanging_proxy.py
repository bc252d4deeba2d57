"""A way to a PostgreSQL server that can fall silent: nothing is answered and nothing refused."""

from __future__ import annotations

import contextlib
import selectors
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class HangingProxy:
    """Passes bytes between a socket of its own and the server's, unless it is told to hang.

    Args:
        folder: Folder of its socket; must be empty.
        server: Folder of the server's socket.
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self._server = server
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen(50)
        self._flows = threading.Event()
        self._flows.set()
        self._ended = False
        self._partners: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def hang(self) -> None:
        """Pass nothing on from now on; connections stay open."""
        self._flows.clear()

    def flow(self) -> None:
        """Pass on what has waited, and all that follows."""
        self._flows.set()

    def close(self) -> None:
        """End all connections."""
        self._ended = True
        self._flows.set()
        self._thread.join(10)
        for connection in (self._listener, *self._partners):
            connection.close()
        self._selector.close()

    def _work(self) -> None:
        while not self._ended:
            self._flows.wait()
            for key, _ in self._selector.select(0.05):
                if not self._flows.is_set():
                    break
                if key.fileobj is self._listener:
                    self._connect()
                elif isinstance(key.fileobj, socket.socket):
                    self._pass(key.fileobj)

    def _connect(self) -> None:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._server / SOCKET))
        for one, other in ((client, server), (server, client)):
            self._partners[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, source: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if data := source.recv(1 << 16):
                self._partners[source].sendall(data)
                return
        for end in (source, self._partners.pop(source)):
            self._partners.pop(end, None)
            with contextlib.suppress(KeyError):
                self._selector.unregister(end)
            end.close()


@contextlib.contextmanager
def hanging_proxy(url: str) -> Iterator[tuple[HangingProxy, str]]:
    """Put a proxy before a server that listens on a unix socket; yield it and its address."""
    address, _, server = url.partition("?host=")
    with tempfile.TemporaryDirectory(prefix="dps-px-", dir="/tmp") as folder:
        proxy = HangingProxy(Path(folder), Path(server))
        try:
            yield proxy, f"{address}?host={folder}"
        finally:
            proxy.close()
