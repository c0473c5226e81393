"""A trunk with its heads as the sliding window's network, in torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract import ModelContract
from models.network.heads import Head
from models.network.trunk import Trunk
from models.windows import Predict


def torch_predict(trunk: Trunk, heads: Mapping[str, Head], contract: ModelContract) -> Predict:
    """Return `models.windows.Predict` on torch, float32.

    Serving has an engine of its own; this is for measuring weights where no engine is installed.
    """

    def predict(window: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        with torch.inference_mode():
            output = trunk(torch.from_numpy(window))
            logits = torch.stack([heads[organ](output)[0, 0] for organ in contract.organs])
        return logits.numpy(), output.global_feature[0].numpy()

    return predict
