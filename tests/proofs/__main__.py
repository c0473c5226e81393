"""``make proofs``: every proof of this folder, one line each; what has passed is not proven twice.

A proof is a file ``test_<name>.py`` here. It passed for one state of the tree: once anything in the tree
changes, it is due again. A run that was cut short goes on with the proofs that are still due.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parents[1]
KEPT = ROOT / "build" / "proofs"
JUDGED = ("models", "services", "flows", "deploy", "helm", "tests")
"""Folders whose content a proof is about, beside the files at the top."""
LEFT_ALONE = {"node_modules", "__pycache__", "bench"}
NO_TEST = 5
"""Pytest's exit status where it collected nothing."""


def tree_digest(root: Path = ROOT) -> str:
    """Return the SHA-256 over path and content of every file a proof may depend on."""
    digest = hashlib.sha256()
    files = [path for path in root.iterdir() if path.is_file()]
    for folder in JUDGED:
        files += [path for path in (root / folder).rglob("*") if path.is_file()]
    for path in sorted(files):
        place = path.relative_to(root)
        if not LEFT_ALONE & set(place.parts):
            digest.update(f"{place.as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def proofs() -> dict[str, Path]:
    """Return the proofs by name."""
    return {path.stem.removeprefix("test_"): path for path in sorted(FOLDER.glob("test_*.py"))}


def passed_before(name: str, tree: str, kept: Path = KEPT) -> float | None:
    """Return the seconds a proof took when it passed on this tree; None where it is due."""
    try:
        known = json.loads((kept / f"{name}.json").read_bytes())
    except FileNotFoundError:
        return None
    return float(known["seconds"]) if known["tree"] == tree else None


def prove(name: str, path: Path, tree: str, kept: Path = KEPT) -> tuple[str, float]:
    """Run one proof; return what came of it and the seconds it took. What it printed is kept beside."""
    kept.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    with (kept / f"{name}.log").open("wb") as log:
        command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", str(path)]
        code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    seconds = time.monotonic() - begin
    outcome = outcome_of(code, (kept / f"{name}.log").read_text(errors="replace"))
    if outcome == "passed":
        (kept / f"{name}.json").write_text(json.dumps({"tree": tree, "seconds": round(seconds, 1)}))
    return outcome, seconds


def outcome_of(code: int, said: str) -> str:
    """Return what became of a proof, by pytest's exit status and what it printed."""
    if code == NO_TEST:
        return "holds no test"
    if code:
        return "FAILED"
    return "left out" if " skipped" in said.splitlines()[-1] else "passed"


def main() -> None:
    """Run the proofs that are named, or all that are due."""
    parser = argparse.ArgumentParser(prog="make proofs", description=__doc__)
    parser.add_argument("names", nargs="*", help="proofs to run (by default all)")
    names, known, tree = parser.parse_args().names, proofs(), tree_digest()
    if unknown := set(names) - set(known):
        parser.error(f"no proof {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    bad = 0
    for name in names or known:
        seconds = passed_before(name, tree)
        if seconds is not None:
            print(f"{'passed before':14}{seconds:7.0f} s  {name}", flush=True)
            continue
        outcome, seconds = prove(name, known[name], tree)
        where = "" if outcome == "passed" else f"  (build/proofs/{name}.log)"
        print(f"{outcome:14}{seconds:7.0f} s  {name}{where}", flush=True)
        bad += outcome in ("FAILED", "holds no test")
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
