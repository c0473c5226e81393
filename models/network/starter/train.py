"""The starter release: a demonstration network trained from seeds on phantoms of site A.

``python -m models.network.starter.train --folder FOLDER`` trains and writes it. NOT FOR CLINICAL USE.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from models.contract import ModelContract
from models.network.heads import Head
from models.network.members import first_member
from models.network.starter.evaluate import STARTER, load_release
from models.network.training.members import MemberSettings, train_members
from models.network.training.train import Progress, TrainingCase, TrainingSettings, train, training_case
from models.network.trunk_kinds import build_trunk
from models.network.weights import head_to_bytes, trunk_from_bytes, trunk_to_bytes
from models.organs import ORGANS
from models.phantom.case import make_case
from models.release import Release, sha256_hex

TRAINING_SITE = "A"
TRAINING_SEEDS = range(100_000, 100_128)
"""Phantoms the starter learns from, and which nothing else may use."""

MEMBER_CASES = 32
"""So many of them, the first, are enough for the further members: trunk and first members learn from all."""

THREADS = 2
"""Of the training; another number gives other last bits and so another starter."""

NOTE = "Starter, trained on synthetic phantoms of site A. DEMO NOT FOR CLINICAL USE."

Say = Callable[[str], None]
"""Told one line of progress."""


def starter_contract() -> ModelContract:
    """Return the contract of the starter release.

    The window holds an adult's cross-section at 4 mm, so that most studies are two windows, one above
    the other.
    """
    trunk = build_trunk({"kind": "unet", "widths": [16, 32, 64, 128], "features": 32})
    return ModelContract(
        organs=ORGANS,
        spacing_mm=(4.0, 4.0, 4.0),
        hu_window=(-175.0, 250.0),
        window_shape=(48, 80, 104),
        overlap=0.25,
        thresholds=dict.fromkeys(ORGANS, 0.5),
        feature_channels=trunk.feature_channels,
        coarse_channels=trunk.coarse_channels,
        global_channels=trunk.global_channels,
        trunk=dict(trunk.spec),
    )


@dataclass(frozen=True, eq=False)
class Starter:
    """A release with the files it names.

    Parameters
    ----------
    release
        Number 1, not calibrated yet.
    trunk
        Bytes of the trunk's safetensors file.
    heads
        Bytes of each head's, by organ.
    """

    release: Release
    trunk: bytes
    heads: Mapping[str, bytes]

    def write(self, folder: Path) -> None:
        """Write trunk, heads and ``release.json`` into a folder, by content."""
        named = {f"trunks/{self.release.trunk}.safetensors": self.trunk}
        named |= {f"heads/{sha256_hex(head)}.safetensors": head for head in self.heads.values()}
        named[f"releases/{self.release.number}/release.json"] = self.release.to_bytes()
        for name, content in named.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def training_cases(seeds: Sequence[int] = TRAINING_SEEDS, say: Say = print) -> list[TrainingCase]:
    """Make the phantoms the starter learns from, two at a time, on the model grid."""
    cases: list[TrainingCase] = []
    with ProcessPoolExecutor(THREADS, mp_context=multiprocessing.get_context("spawn")) as pool:
        for case in pool.map(_training_case, seeds, chunksize=4):
            cases.append(case)
            if len(cases) % 16 == 0 or len(cases) == len(seeds):
                say(f"phantoms {len(cases)}/{len(seeds)}")
    return cases


def _training_case(seed: int) -> TrainingCase:
    case = make_case(TRAINING_SITE, seed)
    return training_case(case.volume, case.truth, starter_contract())


def train_starter(
    settings: TrainingSettings = TrainingSettings(),  # noqa: B008 - frozen
    cases: Sequence[TrainingCase] | None = None,
    say: Say = print,
    members: MemberSettings = MemberSettings(),  # noqa: B008 - frozen
) -> Starter:
    """Train the starter from its seeds: trunk and first members together, then further members.

    Parameters
    ----------
    settings
        How to train.
    cases
        None makes `training_cases`.
    say
        Told one line now and then.
    members
        How to train the further members.

    Returns
    -------
    Starter
        Not calibrated: that is done through the serving engine.
    """
    torch.set_num_threads(THREADS)
    contract = starter_contract()
    if cases is None:
        cases = training_cases(say=say)
    trunk, heads = train(cases, contract, settings, lambda progress: say(_line(progress)))
    first = {organ: head.requires_grad_(False).eval() for organ, head in heads.items()}
    return with_members(trunk_to_bytes(trunk), first, cases, say, members)


def with_members(
    trunk_file: bytes,
    heads: Mapping[str, Head],
    cases: Sequence[TrainingCase],
    say: Say = print,
    settings: MemberSettings = MemberSettings(),  # noqa: B008 - frozen
) -> Starter:
    """Give the heads further members on the trunk as its file keeps it, and make the release of it.

    Parameters
    ----------
    trunk_file
        Bytes of the trunk's safetensors file; the trunk stays these bytes.
    heads
        Their members stay as they are, and come first.
    cases
        What the further members learn from.
    say
        Told one line now and then.
    settings
        How to train them.
    """
    contract = starter_contract()
    joined = train_members(trunk_from_bytes(trunk_file), heads, cases[:MEMBER_CASES], contract, settings, say)
    head_files = {organ: head_to_bytes(joined[organ]) for organ in contract.organs}
    release = Release(
        number=1,
        parent=None,
        trunk=sha256_hex(trunk_file),
        heads={organ: sha256_hex(content) for organ, content in head_files.items()},
        contract=contract,
        note=NOTE,
    )
    return Starter(release, trunk_file, head_files)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train the starter and write it."""
    parser = argparse.ArgumentParser(prog="python -m models.network.starter.train", description=__doc__)
    parser.add_argument("--folder", type=Path, default=STARTER)
    parser.add_argument("--steps", type=int, default=TrainingSettings.steps)
    parser.add_argument(
        "--members-only", action="store_true", help="keep the trunk and first members there are"
    )
    options = parser.parse_args(arguments)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    if options.members_only:
        starter = renew_members(options.folder, say)
    else:
        starter = train_starter(TrainingSettings(steps=options.steps), say=say)
    starter.write(options.folder)
    print(starter.release.digest)
    return 0


def renew_members(folder: Path, say: Say) -> Starter:
    """Train the further members again, on the trunk and the first members of the starter in a folder."""
    torch.set_num_threads(THREADS)
    release, _, heads = load_release(folder)
    trunk = (folder / "trunks" / f"{release.trunk}.safetensors").read_bytes()
    first = {organ: first_member(head) for organ, head in heads.items()}
    return with_members(trunk, first, training_cases(TRAINING_SEEDS[:MEMBER_CASES], say), say)


def _line(progress: Progress) -> str:
    return (
        f"step {progress.step}/{progress.steps}  loss {progress.loss:.4f}  "
        f"{progress.seconds:.0f} s, {progress.seconds_left:.0f} s left"
    )


if __name__ == "__main__":
    raise SystemExit(main())
