"""OHIF's pages are mended where they are those that are known, and otherwise left as they are."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.stack.viewer import FOLDER

FAULTY = """key: "readUncompressedBitFrame",
if (!(totalBytes !== length)) {
allPixelData = stream.readArrayBuffer(totalBytes);
bitValue = sourceByte >> 7 - sourceBitIndex & 1;
frameView[targetByteIndex] |= 1 << 7 - targetBitIndex;
"""


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    for name in ("app.bundle.0.js", "1.bundle.js"):
        (tmp_path / name).write_text(FAULTY)
    (tmp_path / "2.bundle.js").write_text("other")
    return tmp_path


def mend(pages: Path) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: apt-get install npm")
    command = [node, str(FOLDER / "mend.mjs"), str(pages)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_lowest_bit_becomes_the_first_pixel_in_every_bundle(pages: Path) -> None:
    done = mend(pages)
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("app.bundle.0.js", "1.bundle.js"):
        text = (pages / name).read_text()
        assert "sourceByte >> sourceBitIndex & 1;" in text
        assert "|= 1 << targetBitIndex;" in text
        assert "7 -" not in text
        assert "readArrayBuffer(length)" in text


@pytest.mark.parametrize("line", FAULTY.splitlines())
def test_other_pages_are_named_and_left_as_they_are(pages: Path, line: str) -> None:
    other = pages / "1.bundle.js"
    other.write_text(FAULTY.replace(line, "something else"))
    before = {path.name: path.read_bytes() for path in pages.iterdir()}
    done = mend(pages)
    assert done.returncode == 1
    assert "this is not the OHIF that is mended here" in done.stderr
    assert {path.name: path.read_bytes() for path in pages.iterdir()} == before
