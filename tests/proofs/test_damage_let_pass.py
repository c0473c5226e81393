"""What damage that the verdict lets pass does to flags and claimed bounds, on phantoms of known truth.

Each phantom lies on its site's own grid, 3 to 8 mm from slice to slice: on another one every organ is for
review anyway. Site A is judged by the calibration that is shipped, site B by one on phantoms of its own.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import Refused
from models.phantom.case import PhantomCase, make_case
from models.release import Release
from models.volume import Volume
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from services.inference.engine import OpenVinoEngine
from tests.support.claimed_bounds import Claim, calibrated_on, claims_of, starter
from tests.support.damage_let_pass import CHANGES, ENCODERS, WHOLE, change_frames, missed
from tests.support.slices_out_of_place import OUT_OF_PLACE, STRANGE, Stack, two_passes

SEED, PHANTOMS = 650_000, 18
SITES = "AAB"
CALIBRATING = range(651_000, 651_040)
"""Of site B."""

CHANGED, MOVED, PLACES = 4, 4, 6
"""Studies of each phantom with changed bytes, with pictures out of place; places looked at for misses."""

PICTURES = (
    OUT_OF_PLACE
    | STRANGE
    | {"two passes": lambda stack, _: two_passes(stack)}
    | {kind: lambda stack, _, turn=turn: turn(stack) for kind, turn in WHOLE.items()}
)


@dataclass
class Tally:
    """What became of studies, and of the organs that damage touches in those let pass.

    Parameters
    ----------
    counts
        By outcome.
    broken
        Organs that are clear with a bound that does not hold and does without the damage.
    crossed
        The same of bounds as they are computed, before they are rounded down.
    unflagged
        Organs in doubted slices of which something is claimed.
    """

    counts: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    crossed: list[str] = field(default_factory=list)
    unflagged: list[str] = field(default_factory=list)


def read_all(folder: Path) -> CTSeries | None:
    """Return the series of a folder; None where it is refused."""
    try:
        (reading,) = read_series(folder)
        return load(reading)
    except Refused:
        return None


def changed_bytes(
    case: PhantomCase, n: int, whole: Path, rng: np.random.Generator
) -> Iterator[tuple[str, int]]:
    """Damage codestreams of the series in turn; yield the kind and the frames refused till then."""
    inside = np.flatnonzero(np.any([mask.any(axis=(1, 2)) for mask in case.truth.values()], axis=0))
    for name, count, slices in (CHANGES[(CHANGED * n + m) % len(CHANGES)] for m in range(CHANGED)):
        shutil.copytree(whole, whole.with_name("damaged"))
        paths = sorted(whole.with_name("damaged").iterdir())
        first = max(0, int(rng.choice(inside)) - slices // 2)
        refused = change_frames(paths[first : first + slices], ENCODERS[name], count, rng)
        yield f"{count} byte(s) of {'nearly all' if slices > 5 else slices} slices, {name}", refused


def out_of_place(case: PhantomCase, n: int, rng: np.random.Generator) -> Iterator[tuple[str, str, Stack]]:
    """Yield family, kind and pictures: those told elsewhere in turn, then what is known to be missed."""
    stack, kinds = case.volume.hu, list(PICTURES)
    for kind in (kinds[(MOVED * n + m) % len(kinds)] for m in range(MOVED)):
        family = "all against their headers" if kind in WHOLE else "pictures out of place"
        yield family, kind, PICTURES[kind](stack, len(stack) // 2)
    found = list(missed(case, rng, PLACES))
    for kind, made in [found[m] for m in {n % len(found), (n + 1) % len(found)}] if found else []:
        yield f"looked for till missed, {kind}", kind, made


def tell(
    tally: Tally, name: str, series: CTSeries | None, case: PhantomCase, was: dict[str, Claim], now
) -> None:
    """Count one damaged study; `now` asks for its claims."""
    counts = tally.counts
    counts["studies"] += 1
    if series is None:
        counts["refused"] += 1
        return
    damaged = (series.volume.hu != case.volume.hu).any(axis=(1, 2))
    if not damaged.any():
        counts["as it was"] += 1
        return
    doubted = np.isin(np.arange(len(damaged)), series.verdict.doubted)
    counts["noted" if doubted.any() else "unseen"] += 1
    for organ, claim in now(series).items():
        slices = claim.slices | was[organ].slices
        if not (slices & damaged).any():
            continue
        counts["organs touched"] += 1
        claimed = claim.clear or claim.bound is not None
        if (claim.slices & doubted).any() and claimed:
            tally.unflagged.append(f"{name}: {organ}")
        if was[organ].holds_exactly and claim.clear and not claim.holds_exactly:
            tally.crossed.append(f"{name}: {organ}, undamaged {was[organ]}, damaged {claim}")
        if not claim.clear:
            counts["flagged"] += 1
        elif claim.holds:
            counts["clear, holds"] += 1
        elif not was[organ].holds:
            counts["clear, holds not, nor undamaged"] += 1
        else:
            counts["clear, broken"] += 1
            tally.broken.append(f"{name}: {organ}, undamaged {was[organ]}, damaged {claim}")


@pytest.fixture(scope="module")
def sites() -> tuple[dict[str, Release], OpenVinoEngine]:
    release, engine = starter()
    own = calibrated_on(release, engine, (make_case("B", seed) for seed in CALIBRATING))
    return {"A": release, "B": own}, engine


@pytest.mark.timeout(0)
def test_no_bound_is_broken_by_damage_that_is_let_pass(
    sites: tuple[dict[str, Release], OpenVinoEngine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    releases, engine = sites
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    undamaged: Counter[str] = Counter()
    tallies: dict[str, Tally] = {}
    for n in range(PHANTOMS):
        case, rng = make_case(SITES[n % len(SITES)], SEED + n), np.random.default_rng(n)
        write_phantom_series(case, whole)

        def now(series: CTSeries, case: PhantomCase = case) -> dict[str, Claim]:
            return claims_of(series, releases[case.site], engine, case.truth)

        series = read_all(whole)
        assert series is not None
        assert series.verdict.doubted == ()
        was = now(series)
        for claim in was.values():
            undamaged[
                "flagged" if not claim.clear else "clear, holds" if claim.holds else "clear, holds not"
            ] += 1
        for kind, refused in changed_bytes(case, n, whole, rng):
            tally = tallies.setdefault("changed bytes", Tally())
            tally.counts["frames refused before"] += refused
            tell(tally, f"{case.site} {case.seed}, {kind}", read_all(damaged), case, was, now)
            shutil.rmtree(damaged)
        for family, kind, stack in out_of_place(case, n, rng):
            moved = replace(
                case, volume=Volume(np.ascontiguousarray(stack, dtype=np.int16), case.volume.geometry)
            )
            write_phantom_series(moved, damaged)
            tally = tallies.setdefault(family, Tally())
            tell(tally, f"{case.site} {case.seed}, {kind}", read_all(damaged), case, was, now)
            shutil.rmtree(damaged)
        shutil.rmtree(whole)
        with capsys.disabled():
            print(f"\n{n + 1} phantoms, organs undamaged: {dict(undamaged)}")
            for family, tally in tallies.items():
                print(f"  {family}: {dict(tally.counts)}")
                for one in tally.broken + tally.crossed + tally.unflagged:
                    print(f"    {one}")
    assert sum(tally.counts["clear, holds"] for tally in tallies.values()) > PHANTOMS
    assert [one for tally in tallies.values() for one in tally.unflagged] == []
    assert [one for tally in tallies.values() for one in tally.broken] == []
