"""The first release of a site: whether one serves, where it is loaded, and who lets it serve."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.speech.speech import speak, speaks
from flows.training.import_checkpoint import make_first
from models.errors import Refused, ServingFailed, ServingUnavailable
from models.release import Release
from services.inference.port import Endpoint
from services.records.entries.releases import ReleaseState
from services.records.events.candidates import CandidateCalibrated
from services.records.events.serving import IncumbentChanged
from services.records.port import Records
from services.releases.store import ReleaseStore

Bounds = Literal["calibrated-here", "carried", "none"]
"""Where what is claimed of a release comes from."""


@dataclass(frozen=True)
class First:
    """The document of `releases first`.

    Parameters
    ----------
    release, digest
        Which serves.
    changed
        Whether anything was done; False where all was so already.
    came_by
        SHA-256 of the key that signed its file, `unsigned`, or `checkpoint`.
    bounds
        Whether organs are calibrated on this site's cases, on another's, or not.
    demonstration
        Whether the weights are not for clinical use.
    speaks
        Whether results are sent to the archive.
    approver, reason
        Whose act it is that it serves, and why.
    loaded, not_reached
        Addresses of the servers it is loaded on, and why others were not reached; none where none is known.
    """

    release: int
    digest: str
    changed: bool
    came_by: str
    bounds: Bounds
    demonstration: bool
    speaks: bool
    approver: str
    reason: str
    loaded: tuple[str, ...]
    not_reached: tuple[str, ...]


def serves_already(
    records: Records, store: ReleaseStore, is_asked_for: Callable[[Release], bool]
) -> Release | None:
    """Return the release that serves if it is what is asked for, or that calibrated here; None without any.

    Raises
    ------
    Refused
        `incumbent-exists` if another one serves.
    InvalidRelease
        If the one that serves cannot be read.
    """
    number = records.incumbent()
    if number is None:
        return None
    release = store.release(number)
    if not any(is_asked_for(one) for one in _calibrated_from(release, records, store)):
        detail = (
            f"release {number} serves already: take this one in beside it (`organloop releases import` or "
            "`import-checkpoint`), and have the gate weigh it"
        )
        raise Refused("incumbent-exists", detail, {"incumbent": number})
    return release


def _calibrated_from(release: Release, records: Records, store: ReleaseStore) -> Iterator[Release]:
    """Yield a release, and the ones of the same weights that it was calibrated from."""
    yield release
    made = records.last(CandidateCalibrated, digest=release.digest)
    if made is not None and made.said.parent is not None:
        yield from _calibrated_from(store.release(made.said.parent), records, store)


def refuse_late_cases(serving: Release, records: Records) -> None:
    """Refuse cases for a release that serves and was not calibrated here, as `serves-uncalibrated`.

    They would be left aside without a word: what serves is never changed, a candidate is made beside it.
    """
    if records.last(CandidateCalibrated, digest=serving.digest) is None:
        detail = (
            f"release {serving.number} serves already, without bounds of this site, and no case was taken: "
            "add them by `organloop cases add`, then `organloop calibrate` makes a candidate"
        )
        raise Refused("serves-uncalibrated", detail, {"release": serving.number})


def refuse_declined(release: Release, records: Records) -> None:
    """Refuse a release that a person has decided against, as `declined`."""
    if records.release_states().get(release.number) is ReleaseState.DECLINED:
        detail = f"a person has declined release {release.number}, and that is final"
        raise Refused("declined", detail, {"release": release.number})


def cases_in(folder: Path) -> list[tuple[Path, Path]]:
    """Return CT folder and truth of each labelled case in a folder, in order of their names.

    Each lies in a folder of its own, as `organloop phantom` writes it: ``ct/``, and ``truth.npz`` or a SEG,
    ``truth.dcm``.

    Raises
    ------
    Refused
        `no-cases` if one is not so, or there is none.
    OSError
        If the folder cannot be read.
    """
    found = []
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        truths = [case / name for name in ("truth.npz", "truth.dcm") if (case / name).is_file()]
        if len(truths) != 1 or not (case / "ct").is_dir():
            detail = f"{case.name} is no case: it needs a folder ct, and truth.npz or truth.dcm"
            raise Refused("no-cases", detail, {"folder": case.name})
        found.append((case / "ct", truths[0]))
    if not found:
        raise Refused("no-cases", f"{folder} holds no folder of a case", {"folder": str(folder)})
    return found


def load_where_reached(
    number: int, endpoints: Sequence[Endpoint], load: Callable[[Endpoint], None]
) -> tuple[tuple[str, ...], tuple[str, ...], bool]:
    """Load a release on each server; return where, why others were not reached, and whether any load is new.

    A server that is away loads it as it starts anew. Where servers are known, one of them must answer.

    Raises
    ------
    InvalidRelease
        If one cannot load it.
    ServingUnavailable
        If none answers.
    """
    loaded, away, is_new = [], [], False
    for endpoint in endpoints:
        try:
            is_new |= not endpoint.ready(number)
            load(endpoint)
        except ServingFailed as error:
            away.append(str(error))
        else:
            loaded.append(endpoint.url)
    if endpoints and not loaded:
        raise ServingUnavailable(f"no segmenter answers: {'; '.join(away)}; call this again once one does")
    return tuple(loaded), tuple(away), is_new


def let_serve(
    release: Release, store: ReleaseStore, records: Records, approver: str, reason: str, *, openly: bool
) -> bool:
    """Have a release serve that is loaded, and the site speak if it shall; return whether that is new.

    Raises
    ------
    Refused
        `incumbent-exists`; `no-name`.
    """
    is_new = records.incumbent() != release.number
    if is_new:
        make_first(release.number, store, records, approver, reason)
    if openly and not speaks(records):
        speak(approver, reason, records)
        is_new = True
    return is_new


def outcome(
    release: Release,
    records: Records,
    came_by: str,
    reached: tuple[tuple[str, ...], tuple[str, ...]],
    *,
    changed: bool,
) -> First:
    """Return the document, as it is on record."""
    change = records.last(IncumbentChanged, after=release.number)
    if change is None:
        raise ValueError(f"release {release.number} does not serve")
    calibrated_here = records.last(CandidateCalibrated, digest=release.digest) is not None
    bounds: Bounds = "carried" if release.calibration else "none"
    return First(
        release=release.number,
        digest=release.digest,
        changed=changed,
        came_by=came_by,
        bounds="calibrated-here" if calibrated_here else bounds,
        demonstration=release.demonstration,
        speaks=speaks(records),
        approver=change.who,
        reason=change.said.reason,
        loaded=reached[0],
        not_reached=reached[1],
    )
