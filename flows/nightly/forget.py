"""What the home holds of patients for a time only, and what is past that time."""

from __future__ import annotations

from dataclasses import dataclass

from services.cases.features import FeatureStore
from services.pacs.unsent import UnsentResults
from services.pictures.kept import StudyPictures
from services.records.entries.cases import Purpose
from services.settings import Settings
from services.wiring import connect_in_process


@dataclass(frozen=True)
class Forgotten:
    """How much was deleted.

    Parameters
    ----------
    features
        Files with features that were kept for tuning.
    unsent
        Results that were made in silence.
    pictures
        Results whose pictures of organs are gone.
    """

    features: int
    unsent: int
    pictures: int


def forget_what_is_old(settings: Settings) -> Forgotten:
    """Delete what was kept longer ago than the settings allow.

    Raises
    ------
    StorageFailed
        If a file cannot be deleted, or the records cannot be read.
    """
    pictures = StudyPictures(settings.pictures_folder).forget(settings.keep_pictures_days)
    services = connect_in_process(settings)
    features = FeatureStore(services.cases).forget(settings.keep_features_days)
    labelled = [case.case_id for purpose in Purpose for case in services.records.cases(purpose)]
    unsent = UnsentResults(settings.unsent_store).forget(settings.keep_unsent_days, labelled)
    return Forgotten(features, unsent, pictures)
