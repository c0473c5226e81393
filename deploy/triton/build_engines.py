"""Build the TensorRT engine of every trunk that has none for this GPU; runs on the GPU that will serve it.

In the GPU server's container: ``python3 -m deploy.triton.build_engines``, with ORGANLOOP_HOME as everywhere.
It may be run again and by several at once: an engine that is there and whole is left alone. Heads need none.

::

    <engines>/<SHA-256 of the trunk>/<GPU and server>-<precision>/{model.plan, engine.json}

An engine answers only on the kind of GPU and with the TensorRT it was built by; the server's version fixes
the latter. A trunk without one is served by the target `onnxruntime`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

from models.errors import OrganloopError, ServingFailed
from models.release import sha256_hex
from services.files import folder_aside, put, sync
from services.inference.gpu_device import gpu_device
from services.releases.store import ReleaseStore

TRTEXEC = "/usr/src/tensorrt/bin/trtexec"
"""Where NVIDIA's Triton images have it."""

PLAN_FILE = "model.plan"
NOTE_FILE = "engine.json"

WORKSPACE_MIB = 8192
"""Most memory a layer may try while the GPU may be serving already."""

FLAGS = {"fp32": (), "fp16": ("--fp16",)}
"""By precision what trtexec is told of it, beside `COMMON_FLAGS`."""

COMMON_FLAGS = (
    "--noTF32",  # fp32 means it: else convolutions round to 10 bits of mantissa
    "--skipInference",  # only build
    f"--memPoolSize=workspace:{WORKSPACE_MIB}",
)


def build_engines(
    store: ReleaseStore, engines: Path, precision: str, trtexec: str
) -> list[dict[str, object]]:
    """Build what is missing.

    Parameters
    ----------
    store
        Every trunk of its releases that is exported gets an engine.
    engines
        Where engines are kept.
    precision
        ``fp32`` or ``fp16``.
    trtexec
        TensorRT's program.

    Returns
    -------
    list of dict
        By trunk ``trunk, engine`` (its folder), ``built`` (False where it was there).

    Raises
    ------
    ServingFailed
        If an engine cannot be built; nothing of it is left.
    """
    device = gpu_device()
    trunks = sorted({store.release(number).trunk for number in store.numbers()})
    told = []
    for trunk in (trunk for trunk in trunks if store.has_export(trunk)):
        folder = engines / trunk / f"{device}-{precision}"
        onnx = store.export(trunk)
        known = {"trunk": trunk, "onnx": sha256_hex(onnx), "device": device, "precision": precision}
        known["flags"] = " ".join((*COMMON_FLAGS, *FLAGS[precision]))  # of another program: another engine
        there = _is_whole(folder, known)
        if not there:
            _build(folder, onnx, known, trtexec)
        told.append({"trunk": trunk, "engine": str(folder), "built": not there})
    return told


def _is_whole(folder: Path, known: dict[str, str]) -> bool:
    try:
        note = json.loads((folder / NOTE_FILE).read_bytes())
        return note.items() >= {**known, "plan": sha256_hex((folder / PLAN_FILE).read_bytes())}.items()
    except (OSError, ValueError):
        return False


def _build(folder: Path, onnx: bytes, known: dict[str, str], trtexec: str) -> None:
    """Build aside and rename in, so that a killed build leaves nothing that is taken for an engine."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")
    try:
        with folder_aside(aside):
            (aside / "trunk.onnx").write_bytes(onnx)
            command = [
                trtexec,
                f"--onnx={aside / 'trunk.onnx'}",
                f"--saveEngine={aside / PLAN_FILE}",
                *known["flags"].split(),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode or not (aside / PLAN_FILE).is_file():
                tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
                raise ServingFailed(f"trtexec ended with {done.returncode} and built no engine:\n{tail}")
            (aside / "trunk.onnx").unlink()
            version = re.search(r"TensorRT v(\d+)", done.stdout)
            note = {
                **known,
                "plan": sha256_hex((aside / PLAN_FILE).read_bytes()),
                "tensorrt": version[1] if version else None,
            }
            (aside / NOTE_FILE).write_text(json.dumps(note, sort_keys=True, indent=1) + "\n")
            for file in aside.iterdir():
                sync(file)
            if not _is_whole(folder, known):  # another may have built it meanwhile
                put(aside, folder)
    except OSError as error:
        raise ServingFailed(f"no engine can be built: {error.strerror}: {error.filename}") from error


def main() -> int:
    """Build engines and print one JSON document; exit 1 if one cannot be built."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    home = Path(os.environ.get("ORGANLOOP_HOME", ".organloop"))
    precision = os.environ.get("ORGANLOOP_TENSORRT_PRECISION", "fp32")
    parser.add_argument("--releases", type=Path, default=home / "releases", help="the release store")
    parser.add_argument("--engines", type=Path, default=home / "triton" / "engines", help="where engines lie")
    parser.add_argument("--precision", choices=("fp32", "fp16"), default=precision)
    parser.add_argument("--trtexec", default=TRTEXEC)
    asked = parser.parse_args()
    try:
        told = build_engines(ReleaseStore(asked.releases), asked.engines, asked.precision, asked.trtexec)
    except OrganloopError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
