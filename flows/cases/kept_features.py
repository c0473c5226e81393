"""Features sampled while serving: kept for tuning, forgotten after a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flows.progress import Progress
from models.errors import StorageFailed
from models.inference.kept_features import KeptFeatures
from models.inference.segmentation import Segmentation
from models.release import Release
from services.cases.features import FeatureStore
from services.dicom.ct.provenance import patient_of
from services.dicom.ct.series import CTSeries
from services.wiring import Services


def keeps_features(services: Services) -> bool:
    """Tell whether features are to be sampled while serving."""
    return services.settings.keep_features_days > 0


def keep_features(
    services: Services,
    series: CTSeries,
    release: Release,
    hu: NDArray[np.int16],
    answer: Segmentation,
    progress: Progress,
) -> bool:
    """Keep what was sampled of a served series; tell whether it was.

    Nothing is kept of a patient who is not named or was taken out. A disk that is full is said and fails
    no study: tuning extracts the features again.

    Parameters
    ----------
    services
        Where to.
    series, release, hu, answer
        What was served, by which release, on which Hounsfield units, with the features.
    progress
        Told what was not kept, and why.
    """
    patient = patient_of(series)
    if answer.samples is None or patient is None:
        return False
    pseudonym = services.cases.pseudonym(patient)
    if services.records.erased(pseudonym):
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
        store = FeatureStore(services.cases)
        store.keep(patient, series.series_uid, release, hu, kept)
        if services.records.erased(pseudonym):  # while they were written
            store.erase(pseudonym)
            return False
    except StorageFailed as error:
        progress(f"features are not kept for tuning: {error}")
        return False
    return True


def forget_features(services: Services) -> int:
    """Delete what was kept for longer than the setting says; return how many studies' it was."""
    return FeatureStore(services.cases).forget(services.settings.keep_features_days)
