from __future__ import annotations

import pytest

from models.findings import Flag
from models.judgement.flags import flag
from models.judgement.reasons import Reason
from models.organs import CATALOGUE


@pytest.mark.parametrize("organ", [o for o in CATALOGUE if o.dsc_target], ids=lambda o: o.key)
def test_the_bound_decides_against_the_target_of_the_organ(organ):
    target = organ.dsc_target
    assert flag(target, target, ()) == (Flag.CLEAR, ())
    assert flag(target, target - 0.001, ()) == (Flag.REVIEW, (Reason.BOUND_UNDER_TARGET,))
    assert flag(target, target / 2 - 0.001, ()) == (Flag.REJECT, (Reason.BOUND_UNDER_HALF_TARGET,))


@pytest.mark.parametrize("reason", [Reason.FRAGMENTED, Reason.VOLUME_OUT_OF_RANGE])
def test_a_broken_rule_asks_for_review_whatever_the_bound(reason):
    assert flag(0.92, 0.99, [reason]) == (Flag.REVIEW, (reason,))


@pytest.mark.parametrize("reason", [Reason.NOT_FOUND, Reason.WRONG_SIDE])
def test_a_contradicted_presence_is_rejected(reason):
    assert flag(0.92, None, [reason]) == (Flag.REJECT, (reason,))


def test_uncalibrated_is_for_review():
    assert flag(0.92, None, [Reason.UNCALIBRATED]) == (Flag.REVIEW, (Reason.UNCALIBRATED,))


def test_out_of_domain_everything_is_for_review_and_nothing_is_rejected():
    told, reasons = flag(0.92, None, [Reason.WRONG_SIDE, Reason.OUT_OF_DOMAIN])
    assert told is Flag.REVIEW
    assert reasons == (Reason.OUT_OF_DOMAIN, Reason.WRONG_SIDE)


def test_an_absent_organ_whose_presence_nothing_checks_is_for_review():
    reasons = (Reason.PRESENCE_NOT_CHECKED,)
    assert flag(0.75, None, reasons) == (Flag.REVIEW, reasons)


@pytest.mark.parametrize("reason", [Reason.UNCALIBRATED, Reason.OUT_OF_DOMAIN, Reason.DOUBTFUL_SLICES])
def test_a_bound_that_cannot_be_claimed_is_refused(reason):
    with pytest.raises(ValueError, match="no bound"):
        flag(0.92, 0.9, [reason])


def test_a_structure_without_a_target_is_not_judged_whatever_holds_and_no_bound_is_claimed():
    assert flag(None, None, ()) == (Flag.NOT_JUDGED, (Reason.NO_TARGET,))
    for reason in Reason:
        told, reasons = flag(None, None, (reason,))
        assert told is Flag.NOT_JUDGED
        assert set(reasons) == {reason, Reason.NO_TARGET}
    with pytest.raises(ValueError, match="no bound can be claimed"):
        flag(None, 0.9, ())
