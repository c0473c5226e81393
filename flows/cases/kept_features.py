"""Features sampled while serving, kept for tuning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flows.progress import Progress
from models.errors import StorageFailed
from models.inference.kept_features import KeptFeatures
from models.inference.segmentation import Segmentation
from models.release import Release
from services.cases.features import FeatureStore
from services.cases.store import CaseStore
from services.dicom.ct.loaded import CTSeries
from services.dicom.ct.provenance import patient_of
from services.records.port import Cases


def keep_features(
    cases: CaseStore,
    known: Cases,
    series: CTSeries,
    release: Release,
    hu: NDArray[np.int16] | NDArray[np.float32],
    answer: Segmentation,
    progress: Progress,
) -> bool:
    """Keep what was sampled of a served series; tell whether it was.

    Nothing is kept of a patient who is not named or was taken out. A disk that is full is said and fails
    no study: tuning extracts the features again.

    Parameters
    ----------
    cases, known
        Where to, and who was taken out.
    series, release, hu, answer
        What was served, by which release, on which Hounsfield units, with the features.
    progress
        Told what was not kept, and why.
    """
    patient = patient_of(series)
    if answer.samples is None or patient is None:
        return False
    pseudonym = cases.pseudonym(patient)
    if known.erased(pseudonym):
        return False
    samples = answer.samples
    kept = KeptFeatures(
        answer.window_origin,
        answer.global_feature,
        samples.window,
        samples.index,
        samples.weight,
        samples.taps,
    )
    try:
        store = FeatureStore(cases)
        store.keep(patient, series.series_uid, release, hu, kept)
        if known.erased(pseudonym):  # while they were written
            store.erase(pseudonym)
            return False
    except StorageFailed as error:
        progress(f"features are not kept for tuning: {error}")
        return False
    return True
