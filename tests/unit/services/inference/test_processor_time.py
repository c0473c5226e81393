"""Processor time of a server, by its session."""

from __future__ import annotations

import os
import subprocess
import sys

from services.inference.processor_time import session_seconds

BURN = """
import os, sys, time
child = os.fork()
while time.process_time() < 0.2:
    pass
if child:
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    print("burnt", flush=True)
    sys.stdin.read()
"""


def test_a_server_and_what_it_started_are_counted_together_while_it_runs() -> None:
    server = subprocess.Popen(
        [sys.executable, "-c", BURN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "burnt\n"
    spent = session_seconds(server.pid)
    assert spent is not None
    assert 0.38 <= spent < 2, "twice 0.2 s, less two ticks, and what Python takes to start"
    server.communicate("")
    assert session_seconds(server.pid) is None


def test_a_process_that_leads_no_session_has_none() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    assert session_seconds(child.pid) is None
    assert os.getsid(child.pid) == os.getsid(0)
    child.communicate("\n")
