"""A line to a server that is cut, cut off or slow when a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

HTTP = b" HTTP/1.1\r\n"
Cuts = Callable[[bytes, bytes], bool]
"""Told what was asked last and what is answered now; whether the line is cut in the middle of that."""


def never(_asked: bytes, _answered: bytes) -> bool:
    return False


class FaultyLine:
    """Forwards 127.0.0.1 to a server; as a context manager it stops at the end.

    Parameters
    ----------
    server
        ``host, port``, or the path of a socket.

    Attributes
    ----------
    port
        Where it listens; the same again after it was down.
    cuts
        Asked with each piece of an answer.
    slower
        How many times the server's own time passes before an answer goes on; 1: as it comes.
    cut, passed
        Answers cut, and pieces of answers passed on, so far.
    """

    def __init__(self, server: tuple[str, int] | str) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._is_down = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.cuts: Cuts = never
        self.slower = 1
        self.cut = self.passed = 0

    def __enter__(self) -> FaultyLine:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"127.0.0.1:{self.port}"

    def down(self) -> None:
        """Refuse who asks, and end what is open."""
        self._is_down.set()
        _close(self._listener)
        for pair in list(self._pairs):
            self._end(*pair)

    def up(self) -> None:
        """Be there again under the same port."""
        self._is_down.clear()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listen()

    def _listen(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET)
                far.connect(self._server)
                self._pairs.add((near, far))
                threading.Thread(target=self._converse, args=(near, far), daemon=True).start()

    def _converse(self, near: socket.socket, far: socket.socket) -> None:
        asked = _Asked()
        threading.Thread(target=self._up, args=(near, far, asked), daemon=True).start()
        with contextlib.suppress(OSError):
            while piece := far.recv(1 << 20):
                if self.slower > 1:
                    self._is_down.wait((time.monotonic() - asked.at) * (self.slower - 1))
                if self.cuts(asked.piece, piece):
                    self.cut += 1
                    near.sendall(piece[: len(piece) // 2])
                    break
                self.passed += 1
                near.sendall(piece)
                asked.at = time.monotonic()
        self._end(near, far)

    def _up(self, near: socket.socket, far: socket.socket, asked: _Asked) -> None:
        with contextlib.suppress(OSError):
            while piece := near.recv(1 << 20):
                asked.at = time.monotonic()
                if HTTP in piece or HTTP not in asked.piece:  # else it is more of the same request
                    asked.piece = piece
                far.sendall(piece)
        self._end(near, far)

    def _end(self, near: socket.socket, far: socket.socket) -> None:
        self._pairs.discard((near, far))
        _close(near)
        _close(far)


class _Asked:
    """What was asked last on one connection, and when."""

    def __init__(self) -> None:
        self.at, self.piece = time.monotonic(), b""


def _close(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


class EachOnce:
    """Cuts the answer to each request the first time it is asked: by its first line."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def __call__(self, asked: bytes, _answered: bytes) -> bool:
        first = asked.partition(HTTP)[0]
        new = first not in self._seen
        self._seen.add(first)
        return new


class TheOne:
    """Cuts the n-th answer that holds some bytes, counted from one, and no other.

    Attributes
    ----------
    seen
        How many such answers came.
    """

    def __init__(self, number: int, holding: bytes = b"") -> None:
        self._number, self._holding, self.seen = number, holding, 0

    def __call__(self, _asked: bytes, answered: bytes) -> bool:
        if self._holding not in answered:
            return False
        self.seen += 1
        return self.seen == self._number
