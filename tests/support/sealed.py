"""A network of its own, in which every name that is looked up and every address that is called is heard.

It holds the loopback alone, and every address there is leads back to it: who calls out is refused at once and
heard, whatever program it is. ``python -m tests.support.sealed HEARD COMMAND …`` is run by `heard_of` inside
the new network, process and mount namespaces.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import pty
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import ROOT

NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
QUIETED = ("DO_NOT_TRACK", "CI", "PYTEST_CURRENT_TEST")
"""Variables that keep a library from calling out where tests run, but not where a user does."""
RESOLVER = {"/etc/resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"}
RESOLVER |= {"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n"}
"""glibc's: files first, then the server below; no resolver that listens at a socket outside."""
NO_SUCH_NAME = 0x8183
ACKNOWLEDGED = 0x10


@dataclass(frozen=True)
class Heard:
    """What a command did in the sealed network.

    Parameters
    ----------
    exit_code
        Its own; of a signal 128 and the signal's number.
    names
        Looked up, but for this machine's own.
    addresses
        Called by TCP or UDP, but for the loopback: ``address:port``.
    said
        What it printed, as on a terminal.
    """

    exit_code: int
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    said: str


def heard_of(command: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> Heard:
    """Run a command in a network of its own, at a terminal, for a new user; skip where that cannot be.

    Parameters
    ----------
    command
        Program and arguments; what it leaves running is ended.
    folder
        For the user's home and what is heard.
    variables
        Of the environment, beside those of this process; none of `QUIETED` and no Prefect setting is left.
    """
    for program in ("unshare", "ip"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"no {program} here: nothing can be run in a network of its own")
    if subprocess.run([*NAMESPACES, "true"], capture_output=True, env={"PATH": PATH}).returncode:
        pytest.skip("not root, or namespaces are forbidden: nothing can be run in a network of its own")
    heard = folder / "heard.json"
    (folder / "user").mkdir(exist_ok=True)
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in QUIETED and not name.startswith(("PREFECT_", "ORGANLOOP_", "PYTEST_"))
    }
    env = inherited | {"PATH": PATH, "PYTHONPATH": str(ROOT), "HOME": str(folder / "user"), "TERM": "xterm"}
    run = subprocess.run(
        [*NAMESPACES, sys.executable, "-m", "tests.support.sealed", str(heard), *command],
        cwd=ROOT,
        env=env | dict(variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if not heard.exists():
        raise AssertionError(f"the network could not be sealed:\n{run.stdout}")
    found = json.loads(heard.read_text())
    return Heard(found["exit_code"], tuple(found["names"]), tuple(found["addresses"]), run.stdout)


PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


class Listener:
    """Hears what is looked up at the resolver and what is sent elsewhere."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.addresses: set[str] = set()

    def answer_names(self, server: socket.socket) -> None:
        """Answer every question with: no such name."""
        while True:
            question, asker = server.recvfrom(4096)
            labels, place = [], 12
            while length := question[place]:
                labels.append(question[place + 1 : place + 1 + length].decode(errors="replace"))
                place += 1 + length
            self.names.add(".".join(labels).lower())
            head = question[:2] + struct.pack(">HHHHH", NO_SUCH_NAME, 1, 0, 0, 0)
            server.sendto(head + question[12 : place + 5], asker)

    def watch(self, packets: socket.socket, version: int) -> None:
        """Note where TCP and UDP packets go that were let through, but for answers of who was called."""
        while True:
            packet = packets.recv(128)
            if version == 4:
                protocol, address, content = packet[9], packet[16:20], packet[(packet[0] & 15) * 4 :]
            else:
                protocol, address, content = packet[6], packet[24:40], packet[40:]
            answers = protocol == socket.IPPROTO_TCP and content[13] & ACKNOWLEDGED
            if protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) and not answers:
                [port] = struct.unpack_from(">H", content, 2)
                self.addresses.add(f"{ipaddress.ip_address(address)}:{port}")

    def foreign_names(self) -> list[str]:
        """Return the names that are not this machine's own."""
        own = {"localhost", socket.gethostname().lower(), ""}
        own |= {f"{name}.localdomain" for name in own}
        reverse = "127.in-addr.arpa"
        return sorted(n for n in self.names if n not in own and not n.endswith(reverse))


def _filtered(version: int) -> socket.socket:
    """Return a socket that gets every packet but those to the loopback's own addresses."""
    load, equal, give = 0x20, 0x15, 0x06  # ld [k], jeq #k, ret #k
    if version == 4:
        code = [(load, 0, 0, 16), (0x54, 0, 0, 0xFF000000), (equal, 0, 1, 0x7F000000), (give, 0, 0, 0)]
    else:
        code = [(load, 0, 0, 36), (equal, 0, 3, 1), (load, 0, 0, 24), (equal, 0, 1, 0), (give, 0, 0, 0)]
    code.append((give, 0, 0, 128))
    program = b"".join(struct.pack("HBBI", *line) for line in code)
    buffer = ctypes.create_string_buffer(program)
    kind = 0x0800 if version == 4 else 0x86DD
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind))
    wanted = struct.pack("HL", len(code), ctypes.addressof(buffer))
    packets.setsockopt(socket.SOL_SOCKET, 26, wanted)  # SO_ATTACH_FILTER
    return packets


@contextlib.contextmanager
def _sealed(folder: Path) -> Iterator[Listener]:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "route", "add", "local", "0.0.0.0/0", "dev", "lo"], check=True)
    subprocess.run(
        ["ip", "-6", "route", "add", "local", "::/0", "dev", "lo"], check=False
    )  # where there is IPv6
    for place, text in RESOLVER.items():
        file = folder / Path(place).name
        file.write_text(text)
        subprocess.run(["mount", "--bind", str(file), place], check=True)
    if Path("/run/nscd").is_dir():
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/nscd"], check=True)
    listener = Listener()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))
    threads = [threading.Thread(target=listener.answer_names, args=(server,), daemon=True)]
    for version in (4, 6):
        arguments = (_filtered(version), version)
        threads.append(threading.Thread(target=listener.watch, args=arguments, daemon=True))
    for thread in threads:
        thread.start()
    yield listener


def main() -> None:
    """Run a command in the network that was made for it, and write down what was heard."""
    heard, command = Path(sys.argv[1]), sys.argv[2:]
    with _sealed(heard.parent) as listener:
        code = os.waitstatus_to_exitcode(pty.spawn(command))
    found = {
        "exit_code": code if code >= 0 else 128 - code,
        "names": listener.foreign_names(),
        "addresses": sorted(listener.addresses),
    }
    heard.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
