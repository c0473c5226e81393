"""What the command writes is for its owner alone, whatever the shell's umask says."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path


def test_nothing_that_a_verb_writes_is_another_user_s_to_read(tmp_path: Path) -> None:
    code = "from deploy.cli.main import main; main()"
    made = tmp_path / "phantom"
    words = ["phantom", "--site", "A", "--seed", "5", "--out", str(made)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env=os.environ | {"ORGANLOOP_HOME": str(tmp_path / "home")},
        umask=0o002,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    written = [made, *made.rglob("*")]
    assert len(written) > 10
    assert not [one for one in written if stat.S_IMODE(one.stat().st_mode) & 0o077]
