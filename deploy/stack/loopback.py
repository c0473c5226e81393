"""Run a program that cannot be told where to listen so that it listens on 127.0.0.1 alone.

``python -m deploy.stack.loopback PROGRAM …`` becomes the program. Before each `bind` the kernel asks a
process beside it, which writes 127.0.0.1 where the program wrote every address. Needs Linux 5.8.
Source: seccomp_unotify(2), seccomp(2), prctl(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import select
import signal
import socket
import struct
import sys
from pathlib import Path

_BIND = {"x86_64": (0xC000003E, 317, 49), "aarch64": (0xC00000B7, 277, 200)}
"""By machine: its name in audit records, the numbers of its calls `seccomp` and `bind`."""
_SET_PTRACER, _NO_NEW_PRIVILEGES = 0x59616D61, 38
_SET_FILTER, _NEW_LISTENER, _ASK, _ALLOW = 1, 1 << 3, 0x7FC00000, 0x7FFF0000
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_QUESTION, _ANSWER = struct.Struct("=QII iIQ 6Q"), struct.Struct("=QqiI")
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06

EVERYWHERE = {
    struct.pack("=H", socket.AF_INET): (4, socket.inet_aton("0.0.0.0"), socket.inet_aton("127.0.0.1")),
    struct.pack("=H", socket.AF_INET6): (
        8,
        bytes(16),
        socket.inet_pton(socket.AF_INET6, "::ffff:127.0.0.1"),
    ),
}
"""By address family: where in the address the host lies, what is every one, and what this machine."""

_NOT_LED = "what starts here listens on every address, since it cannot be kept to 127.0.0.1"
_OWN = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
"""127.0.0.1, ::1 and the former as IPv6, as /proc/net writes them."""
_LISTENING = "0A"

_libc = ctypes.CDLL(None, use_errno=True)


def become(command: list[str]) -> None:
    """Become a program whose sockets listen on 127.0.0.1 alone.

    Where the kernel cannot be asked for that, it says so on stderr and becomes the program all the same: who
    starts it looks where it listens.
    """
    ours, theirs = socket.socketpair()
    watcher = os.fork()
    if watcher == 0:
        ours.close()
        _watch(theirs)
        os._exit(0)
    theirs.close()
    try:
        _check(_libc.prctl(_SET_PTRACER, watcher, 0, 0, 0), ignored=True)  # only where Yama asks
        socket.send_fds(ours, [b"x"], [_listener()])
        ours.recv(1)  # it has the listener: nothing binds before
    except (OSError, KeyError) as error:
        sys.stderr.write(f"{_NOT_LED}: {error}\n")
    ours.close()
    os.execvp(command[0], command)


def is_open_to_others(port: int) -> bool:
    """Tell whether somebody listens at a port on more than this machine's own addresses."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            address, number = local.split(":")
            if state == _LISTENING and int(number, 16) == port and address not in _OWN:
                return True
    return False


def _listener() -> int:
    """Have the kernel ask before each `bind` of this process and what it becomes; return where it asks."""
    architecture, seccomp, bind = _BIND[platform.machine()]
    steps = (
        (_LOAD, 0, 0, 4),
        (_IF_EQUAL, 0, 3, architecture),
        (_LOAD, 0, 0, 0),
        (_IF_EQUAL, 0, 1, bind),
        (_RETURN, 0, 0, _ASK),
        (_RETURN, 0, 0, _ALLOW),
    )
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    described = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(program)))
    _check(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    return _check(_libc.syscall(seccomp, _SET_FILTER, _NEW_LISTENER, described))


def _check(result: int, *, ignored: bool = False) -> int:
    if result < 0 and not ignored:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _watch(asker: socket.socket) -> None:
    """Answer the kernel until the program has ended."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it ends with the program
    _, listeners, _, _ = socket.recv_fds(asker, 1, 1)
    if not listeners:
        return  # the kernel refused
    listener = listeners[0]
    asker.send(b"x")
    asker.close()
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while poll.poll()[0][1] & select.POLLIN:
        question = bytearray(_QUESTION.size)
        with contextlib.suppress(FileNotFoundError):  # who asked has ended meanwhile
            fcntl.ioctl(listener, _RECEIVE, question)
            number, pid, _, _, _, _, _, address, length, *_ = _QUESTION.unpack(question)
            try:
                _lead(pid, address, length)
            except OSError as error:
                sys.stderr.write(f"{_NOT_LED}: {error}\n")
            fcntl.ioctl(listener, _SEND, _ANSWER.pack(number, 0, 0, _CONTINUE))


def _lead(pid: int, address: int, length: int) -> None:
    """Write this machine's own address where a process is about to listen on every one."""
    with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
        memory.seek(address)
        held = memory.read(length)
        if held[:2] in EVERYWHERE:
            at, every, own = EVERYWHERE[held[:2]]
            if held[at : at + len(every)] == every:
                memory.seek(address + at)
                memory.write(own)


if __name__ == "__main__":
    become(sys.argv[1:])
