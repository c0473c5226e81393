"""A program that listens on every address is led to 127.0.0.1, and is itself otherwise."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.support.waiting import GUARD_SECONDS, until

LISTENS = """
import json, os, socket, sys
from deploy.stack.loopback import is_open_to_others
every, own = socket.create_server(("", 0)), socket.create_server(("127.0.0.1", 0))
both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
ports = [one.getsockname()[1] for one in (every, own, both)]
for port in ports:
    socket.create_connection(("127.0.0.1", port)).close()
print(json.dumps([os.getpid(), [is_open_to_others(port) for port in ports]]), flush=True)
sys.stdin.read()
sys.exit(7)
"""


def listening(*before: str) -> tuple[subprocess.Popen[str], int, list[bool]]:
    """Start a program that listens on three ports; return it, its pid, and which ports others reach."""
    command = [sys.executable, *before, *([sys.executable] if before else []), "-c", LISTENS]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid, open_to_others = json.loads(process.stdout.readline())
    return process, pid, open_to_others


def ended(process: subprocess.Popen[str]) -> int:
    with process:
        process.communicate(timeout=GUARD_SECONDS)
    return process.returncode


def test_by_itself_it_is_reached_from_elsewhere() -> None:
    process, _, open_to_others = listening()
    assert open_to_others == [True, False, True]
    assert ended(process) == 7


def test_led_it_is_not_and_ends_as_it_would_have() -> None:
    process, pid, open_to_others = listening("-m", "deploy.stack.loopback")
    assert open_to_others == [False, False, False]
    assert pid == process.pid, "it became the program"
    assert ended(process) == 7


def test_who_watches_ends_with_it_though_it_was_killed() -> None:
    process, pid, _ = listening("-m", "deploy.stack.loopback")
    asked = ["pgrep", "--parent", str(pid)]
    watcher = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    process.kill()
    process.communicate()
    gone = ["ps", "--no-headers", "-o", "stat", "-p", watcher]
    until(
        lambda: subprocess.run(gone, capture_output=True, text=True).stdout.strip()[:1] in ("", "Z"),
        "the watcher has ended",
    )
