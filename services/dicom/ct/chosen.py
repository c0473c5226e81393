"""Which series of a study is segmented, with what was said of the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from models.errors import Refused
from models.series.choice import SHIPPED, SeriesRules, candidate_of, choose
from models.series.rules import refuse_mixed_patients_of_study
from models.series.terms import uid_or_length
from models.series.verdict import Code
from services.dicom.ct.series import SeriesReading, usable_geometry


def choose_series(readings: Sequence[SeriesReading], rules: Path | None = None) -> SeriesReading:
    """Return the series of a study to segment, with what the rules said of each among its notes.

    What is no CT image decides nothing: not whose the study is, nor how many studies there are.

    Parameters
    ----------
    readings
        All series of the study; their order decides nothing.
    rules
        File of rules (`models.series.choice`); the shipped ones by default.

    Raises
    ------
    Refused
        If none is fit: with the code of the series that came furthest in the order of precedence
        (of these, the largest). `mixed-patient` if the CT series of one study are of several patients,
        fit or not. `several-studies` if the readings are not of one study. As
        `models.series.choice.choose`: `excluded-by-rules`, `ambiguous-series`.
    """
    ct = [reading for reading in readings if reading.is_ct] or list(readings)
    for study in {reading.study_uid for reading in ct} - {""}:
        refuse_mixed_patients_of_study([r.facts[0] for r in ct if r.study_uid == study])
    usable = {reading.series_uid: reading for reading in ct if not reading.verdict.refused}
    if not usable:
        precedence = list(Code)
        usable_geometry(
            max(ct, key=lambda r: (precedence.index(r.verdict.code or precedence[0]), len(r.paths)))
        )
    studies = len({reading.study_uid for reading in ct})
    if studies > 1:
        raise Refused("several-studies", f"There are {studies} studies; name one.", {"studies": studies})
    candidates = [candidate_of(reading.facts, usable_geometry(reading)) for reading in usable.values()]
    choice = choose(candidates, SeriesRules.read(rules or SHIPPED))
    chosen = usable[choice.series_uid]
    if len(readings) == 1:
        return chosen
    why = [
        f"Of {len(readings)} series {len(usable)} are fit; this one was {choice.reasons[chosen.series_uid]}."
    ]
    for reading in readings:
        uid = uid_or_length(reading.series_uid)
        if reading.verdict.refused:
            why.append(f"Series {uid} is not fit: {reading.verdict.code}{_whose(reading, chosen)}.")
        elif reading is not chosen:
            why.append(f"Series {uid} is fit; {choice.reasons[uid]}.")
    return replace(chosen, verdict=replace(chosen.verdict, notes=(*chosen.verdict.notes, *why)))


def _whose(reading: SeriesReading, chosen: SeriesReading) -> str:
    """Return that a series names another patient or study than the one chosen, where it does."""
    others = {
        "patient": reading.facts[0].patient[0] != chosen.facts[0].patient[0],
        "study": reading.study_uid != chosen.study_uid,
    }
    named = " and ".join(what for what, differs in others.items() if differs)
    return f"; it names another {named}" if named else ""
