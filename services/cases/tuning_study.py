"""From a kept case to what tuning learns from: the reader's labels on the network's grid, weighted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.corrections.ledger import HybridLabel
from models.errors import StorageFailed
from models.geometry import Geometry
from models.inference.kept_features import KeptFeatures
from models.inference.question import is_asked_grid
from models.network.tuning.samples import TuningStudy
from models.network.tuning.seen_windows import Seen
from models.nnunet.whole import network_view
from models.release import Release
from models.resampling import resample
from services.cases.features import FeatureStore
from services.cases.store import CaseContent, CaseStore
from services.cases.tuning_evidence import LabelledCase


def tuning_study(
    content: CaseContent,
    organs: Sequence[str],
    contract: ModelContract,
    patient: str = "",
    replayed: bool = False,
    warm: KeptFeatures | None = None,
) -> TuningStudy:
    """Bring a case's labels onto the network's grid; an organ without a reader's word stays unlabelled.

    Parameters
    ----------
    content
        The case.
    organs
        Organs whose label may be learnt from.
    contract
        Of the release that is tuned.
    patient, replayed
        Whose it is, and whether it is an older study.
    warm
        The features kept while it was served.
    """
    seen, grid = _as_seen(content, contract)
    truth, weight, edited = {}, {}, {}
    for organ in organs:
        label = content.labels.get(organ)
        if label is not None and label.weight.any():
            truth[organ], weight[organ] = _on_grid(label, content.ct, grid)
            if warm is not None:
                edited[organ] = _edited(organ, label, content, grid)
    return TuningStudy(seen, truth, weight, patient, replayed, edited, warm)


def _as_seen(content: CaseContent, contract: ModelContract) -> tuple[Seen, Geometry]:
    """Return a case as windows are cut from it, and its grid."""
    volume, recipe = content.volume, contract.recipe
    if recipe is None:
        return np.ascontiguousarray(volume.hu, dtype=np.int16), volume.geometry
    view = network_view(volume.hu, volume.geometry, recipe, recipe.along(contract.spacing_mm))
    return view.volume, view.grid.geometry


def _edited(organ: str, label: HybridLabel, content: CaseContent, grid: Geometry) -> NDArray[np.bool_]:
    """Return the voxels of the network's grid in which the label is not what was served."""
    sent = content.sent.get(organ)
    changed = label.inside if sent is None else label.inside ^ sent
    return np.asarray(resample(changed.dense().astype(np.float32), content.ct, grid, outside=0.0) > 0)


def _on_grid(label: HybridLabel, ct: Geometry, grid: Geometry) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return 255 x truth and 255 x weight in each voxel of the network's grid, both 0..1.

    Truth is the weighted mean of the CT voxels that such a voxel is made of: what weighs nothing there,
    our own result, has no say in what is learnt. Weight is their mean weight.
    """
    mean_weight = resample(label.weight, ct, grid, outside=0.0)
    drawn = resample(label.weight * label.inside.dense(), ct, grid, outside=0.0)
    weight = _bytes(mean_weight)
    truth = np.divide(drawn, mean_weight, out=np.zeros_like(drawn), where=weight > 0)
    return _bytes(truth), weight


def _bytes(field: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(255 * np.clip(field, 0, 1)).astype(np.uint8)


def read_tuning_study(
    cases: CaseStore,
    labelled: LabelledCase,
    release: Release,
    features: FeatureStore | None = None,
    replayed: bool = False,
) -> TuningStudy:
    """Read what is to be learnt from a case.

    Parameters
    ----------
    cases, labelled
        Where it lies, and which.
    release
        The incumbent that is tuned.
    features
        Where features were kept while serving; None: all are extracted again.
    replayed
        Whether it is an older case.

    Raises
    ------
    StorageFailed
        If the case is not what was kept, or was kept on another grid than the contract's.
    """
    content = cases.read(labelled.case)
    contract = release.contract
    if not is_asked_grid(content.volume.geometry, content.ct, contract):
        raise StorageFailed(
            f"case {labelled.case.case_id} is kept on another grid than the incumbent is asked on"
        )
    warm = None
    if features is not None and labelled.series_uid is not None:
        warm = features.find(labelled.case.patient, labelled.series_uid, release, content.volume.hu)
    return tuning_study(content, labelled.organs, contract, labelled.case.patient, replayed, warm)
