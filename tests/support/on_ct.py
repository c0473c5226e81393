"""A field of the model grid on the whole CT grid."""

import numpy as np

from models.geometry import Geometry
from models.resampling import patch_on_ct


def on_ct(field: np.ndarray, model: Geometry, ct: Geometry) -> np.ndarray:
    whole = np.zeros(ct.shape, dtype=np.float32)
    patch, box = patch_on_ct(field, model, ct)
    assert patch.dtype == whole.dtype
    whole[box] = patch
    return whole
