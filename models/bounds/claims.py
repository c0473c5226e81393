"""When a release may claim bounds of DSC for a study."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.bounds.acquisition_facts import StrangeFact, acquisition_facts, strange_facts
from models.bounds.domain import is_out_of_domain, study_feature
from models.calibration import Calibration
from models.geometry import Geometry
from models.release import Release
from models.volume import Volume


def calibration_in(release: Release, profile: str) -> Calibration | None:
    """Return what a release claims bounds by; None where it was calibrated in another profile, or not."""
    known = release.calibration
    return known if known is not None and known.profile == profile else None


def domain_of(
    calibration: Calibration | None,
    global_feature: NDArray[np.float32],
    model: Volume,
    ct: Geometry,
    body: NDArray[np.bool_],
    served: Mapping[str, NDArray[np.bool_]],
) -> tuple[bool, tuple[StrangeFact, ...]]:
    """Tell whether a study is unlike the calibration studies, and which of its facts are.

    Parameters
    ----------
    calibration
        None compares with nothing.
    global_feature
        What the trunk answered, shape (window, feature).
    model, ct, body, served
        As of `acquisition_facts`.
    """
    if calibration is None:
        return False, ()
    strange: tuple[StrangeFact, ...] = ()
    if calibration.facts is not None:
        strange = strange_facts(acquisition_facts(model, ct, body, served), calibration.facts)
    return bool(strange) or is_out_of_domain(study_feature(global_feature), calibration.domain), strange
