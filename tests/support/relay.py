"""A relay before a server that counts the bytes that pass it."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Forwards 127.0.0.1 to a server's socket on this host; as a context manager it stops at the end.

    Attributes
    ----------
    url
        Where it listens, ``host:port``.
    up, down
        Bytes to the server and from it so far.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self.url = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.up = self.down = 0

    def __enter__(self) -> Relay:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._path)
                self._open += [near, far]
                for pair in ((near, far, "up"), (far, near, "down")):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, way: str) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 20):
                setattr(self, way, getattr(self, way) + len(chunk))
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)
