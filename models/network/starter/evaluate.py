"""Measure a release on phantoms it has never seen: DSC per organ on the CT grid.

``python -m models.network.starter.evaluate --site A --cases 20``
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract import ModelContract
from models.errors import InvalidRelease
from models.inference.windows import segment_windows
from models.metrics.dsc import dsc
from models.network.heads import Head
from models.network.prediction import torch_predict
from models.network.trunk import Trunk
from models.network.weights import head_from_bytes, trunk_from_bytes
from models.phantom.case import SITES, make_case
from models.release import Release, sha256_hex
from models.resampling import patch_on_ct, to_model_grid
from models.volume import Volume

STARTER = Path(__file__).resolve().parents[2] / "starter"
"""Folder of the starter release: ``trunks/``, ``heads/``, ``releases/``."""

FIRST_SEED = 500_000
"""Phantoms from this seed on are for measuring; training uses other seeds."""

Dsc = dict[str, list[float | None]]
"""By organ, one value per case; None where the organ is neither there nor predicted."""


def load_release(folder: Path, number: int = 1) -> tuple[Release, Trunk, dict[str, Head]]:
    """Read a release with its weights.

    Parameters
    ----------
    folder
        Holds ``trunks/<sha256>.safetensors``, ``heads/<sha256>.safetensors``, ``releases/<n>/release.json``.
    number
        The release.

    Raises
    ------
    InvalidRelease
        If a file is missing, is not what its name says, or cannot be read.
    """
    release = Release.from_bytes(_read(folder / "releases" / str(number) / "release.json"))
    trunk = trunk_from_bytes(_weights(folder / "trunks", release.trunk))
    heads = {
        organ: head_from_bytes(_weights(folder / "heads", release.heads[organ]))
        for organ in release.contract.organs
    }
    return release, trunk, heads


def segment(
    volume: Volume, trunk: Trunk, heads: Mapping[str, Head], contract: ModelContract
) -> dict[str, NDArray[np.bool_]]:
    """Segment a CT as serving does, in torch; masks by organ on the CT grid, axes (k, j, i)."""
    model = to_model_grid(volume, contract.spacing_mm, contract.antialias)
    answer = segment_windows(model.hu.astype(np.int16), contract, torch_predict(trunk, heads, contract))
    masks = {}
    for organ, probability in zip(contract.organs, answer.probability, strict=True):
        masks[organ] = np.zeros(volume.geometry.shape, dtype=np.bool_)
        patch, box = patch_on_ct(probability, model.geometry, volume.geometry)
        masks[organ][box] = patch >= contract.thresholds[organ]
    return masks


def evaluate(
    trunk: Trunk,
    heads: Mapping[str, Head],
    contract: ModelContract,
    cases: Iterable[tuple[Volume, Mapping[str, NDArray[np.bool_]]]],
) -> Dsc:
    """Return the DSC of every organ in every case.

    Parameters
    ----------
    trunk, heads, contract
        What to measure.
    cases
        CT and truth by organ, axes (k, j, i) on the CT grid.
    """
    values: Dsc = {organ: [] for organ in contract.organs}
    for volume, truth in cases:
        masks = segment(volume, trunk, heads, contract)
        for organ in contract.organs:
            values[organ].append(dsc(masks[organ], truth[organ]))
    return values


def phantoms(site: str, seeds: Iterable[int]) -> Iterable[tuple[Volume, Mapping[str, NDArray[np.bool_]]]]:
    """Make phantoms of a site one after the other."""
    for seed in seeds:
        case = make_case(site, seed)
        yield case.volume, case.truth


def means(values: Dsc) -> dict[str, float]:
    """Return each organ's mean DSC over the cases where it is there or predicted."""
    found = {organ: [v for v in column if v is not None] for organ, column in values.items()}
    return {organ: statistics.fmean(column) for organ, column in found.items() if column}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the mean DSC per organ of a release on unseen phantoms."""
    parser = argparse.ArgumentParser(prog="python -m models.network.starter.evaluate", description=__doc__)
    parser.add_argument("--site", choices=SITES, action="append", help="default: every site")
    parser.add_argument("--cases", type=int, default=20, help="phantoms per site")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="seed of the first phantom")
    parser.add_argument("--folder", type=Path, default=STARTER, help="where trunks, heads and releases are")
    parser.add_argument("--release", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    torch.set_num_threads(2)
    try:
        release, trunk, heads = load_release(options.folder, options.release)
    except InvalidRelease as error:
        print(error, file=sys.stderr)
        return 1
    seeds = range(options.seed, options.seed + options.cases)
    table: dict[str, dict[str, float]] = {}
    for site in options.site or SITES:
        print(f"site {site}: {options.cases} phantoms", file=sys.stderr)
        table[site] = means(evaluate(trunk, heads, release.contract, phantoms(site, seeds)))
    if options.json:
        print(json.dumps({"release": release.digest, "cases": options.cases, "dsc": table}))
    else:
        print(_rows(table, release.contract.organs))
    return 0


def _rows(table: Mapping[str, Mapping[str, float]], organs: Sequence[str]) -> str:
    lines = ["organ          " + "".join(f"  site {site}" for site in table)]
    for organ in organs:
        cells = (f"{column[organ]:8.3f}" if organ in column else "       -" for column in table.values())
        lines.append(f"{organ:15}" + "".join(cells))
    lines.append(f"{'mean':15}" + "".join(f"{statistics.fmean(c.values()):8.3f}" for c in table.values()))
    return "\n".join(lines)


def _weights(folder: Path, digest: str) -> bytes:
    content = _read(folder / f"{digest}.safetensors")
    if sha256_hex(content) != digest:
        raise InvalidRelease(f"{digest}.safetensors is not what its name says")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRelease(f"{path.name} cannot be read: {error.strerror}") from error


if __name__ == "__main__":
    raise SystemExit(main())
