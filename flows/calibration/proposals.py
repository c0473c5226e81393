"""Targets and margins that a site's calibration cases propose, as a file for a person to read and to sign."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from models.bounds.fit import StudyCase
from models.bounds.proposals import Proposal, propose
from models.organs import KEYS
from models.organs import organ as catalogue_entry

HEAD = """\
# What {cases} calibration cases propose of release {release}, as it answered in {profile}.
#
# Nothing here is in force. A target is the DSC that nine of ten such cases reach, with confidence 0.9; a
# margin is a fifth of the standard deviation of the DSC. They tell how well this network does here, and not
# whether that is good enough. Move what you agree to into the file that ORGANLOOP_TARGETS names, and say
# there who established it (by) and when (on): without these two the file is refused.
"""


def proposed(measured: Sequence[StudyCase], organs: Iterable[str]) -> dict[str, Proposal]:
    """Return by organ what the cases propose in which it is, or was found."""
    return {
        organ: propose(
            [dsc for case in measured if organ in case.organs and (dsc := case.organs[organ].dsc) is not None]
        )
        for organ in organs
    }


def proposal_file(proposals: Mapping[str, Proposal], cases: int, release: int, profile: str) -> str:
    """Return the text of a file of proposals: TOML that `models.targets` reads once a person has signed it.

    Parameters
    ----------
    proposals
        By organ.
    cases, release, profile
        How many calibration cases, of which release, served how.
    """
    tables = (_table(organ, one, cases, release) for organ, one in proposals.items())
    return HEAD.format(cases=cases, release=release, profile=profile) + "".join(tables)


def _table(organ: str, one: Proposal, cases: int, release: int) -> str:
    told = f"\n# {organ}: {one.missing}.\n" if one.missing else "\n"
    if one.interval is None or (one.dsc_target is None and one.gate_margin is None):
        return told
    lines = [f"[organs.{organ}]"]
    if one.dsc_target is not None:
        lines.append(f"dsc_target = {one.dsc_target}{_beside(organ)}")
    if one.gate_margin is not None:
        lines.append(f"gate_margin = {one.gate_margin}")
    lines += [
        f'from = "{cases} calibration cases of release {release}, median DSC {one.median}"',
        f"cases = {one.cases}",
        f"interval = [{one.interval[0]}, {one.interval[1]}]",
    ]
    return told + "\n".join(lines) + "\n"


def _beside(organ: str) -> str:
    target = catalogue_entry(organ).dsc_target if organ in KEYS else None
    return "" if target is None else f"  # readers among themselves: {target}"


def proposal_rows(proposals: Mapping[str, Proposal]) -> list[dict[str, object]]:
    """Return one row an organ for a table."""
    return [
        {
            "organ": organ,
            "cases": one.cases,
            "median": one.median,
            "target": one.dsc_target,
            "interval": "" if one.interval is None else f"{one.interval[0]} to {one.interval[1]}",
            "margin": one.gate_margin,
            "missing": one.missing,
        }
        for organ, one in proposals.items()
    ]
