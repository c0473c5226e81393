"""How fast a store is backed up: the first time, the nights after, and `cp` beside it."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import numpy as np

from services.backup.backup import take
from services.records.store import open_records
from services.settings import Settings

FILES, MIB, SMALL = 80, 27, 10_000
"""As features sampled while serving lie: one file a study."""


def test_backup_speed(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    open_records(settings.records_url).close()
    folder = settings.case_store / "features"
    folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for number in range(FILES):
        (folder / f"{number}").write_bytes(draw.bytes(MIB << 20))
    total = FILES * MIB

    def seconds() -> float:
        os.sync()
        begin = time.perf_counter()
        take(settings, tmp_path / "backups", lambda _: None)
        taken = time.perf_counter() - begin
        time.sleep(1)  # backups are named by the second
        return taken

    first, again = seconds(), seconds()
    small = settings.case_store / "small"
    small.mkdir()
    for number in range(SMALL):
        (small / f"{number}").write_bytes(b"small")
    new, linked = seconds(), seconds()
    os.sync()
    begin = time.perf_counter()
    subprocess.run(["cp", "-r", folder, tmp_path / "copy"], check=True)
    os.sync()
    plain = time.perf_counter() - begin
    print(
        f"\n{total} MiB in {FILES} files: the first {first:.1f} s, {total / first:.0f} MiB/s (`cp` and "
        f"`sync` {total / plain:.0f}); again {again:.1f} s; {SMALL} small files {SMALL / (new - again):.0f} "
        f"a second, linked {SMALL / (linked - again):.0f} a second"
    )
    assert again < first / 2
