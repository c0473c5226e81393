"""Everything that readers have taught so far: what a whole network is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.cases.disagreements import ASK, Policy, teaching_words, valid_words
from services.cases.store import CaseStore
from services.cases.tuning_evidence import LabelledCase
from services.records.entries.cases import Purpose
from services.records.port import Records


def accumulated(
    records: Records, cases: CaseStore, asked: Sequence[str], policy: Policy = ASK
) -> tuple[LabelledCase, ...]:
    """Return every kept case with the organs that a reader's standing word teaches there.

    Unlike `gather` it asks neither what a release has learnt already nor how much there is of an organ.

    Parameters
    ----------
    records, cases
        Where corrections and cases are.
    asked
        Organs that may be learnt.
    policy
        What teaches where readers disagree. What was accepted from pictures teaches heads only, never this.

    Returns
    -------
    tuple of LabelledCase
        By identifier: the same in whatever order corrections came in. A case that was added otherwise
        names every organ asked for; what has no label there teaches nothing.
    """
    kept = {case.case_id: case for case in records.cases(Purpose.TUNING)}
    known = {cases.pseudonym(one.name): one for one in records.corrections()} if kept else {}
    seen_in_full = replace(policy, from_pictures=False)
    teaching, _ = teaching_words(valid_words(known.values()), records.agreements(), seen_in_full)
    taught: dict[str, set[str]] = {}
    for (_, organ), word in teaching.items():
        taught.setdefault(cases.pseudonym(word.correction.name), set()).add(organ)
    found = []
    for case_id, case in sorted(kept.items()):
        correction = known.get(case_id)
        organs = asked if correction is None else [one for one in asked if one in taught.get(case_id, ())]
        if organs:
            found.append(LabelledCase(case, tuple(organs), correction.name if correction else None))
    return tuple(found)
