"""A trunk with its heads as the sliding window's network, in torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from models.contract import ModelContract
from models.inference.windows import Predict, Prediction
from models.network.heads import Head
from models.network.members import with_spread
from models.network.trunk import Trunk


def torch_predict(trunk: Trunk, heads: Mapping[str, Head], contract: ModelContract) -> Predict:
    """Return `models.inference.windows.Predict` on torch, float32.

    Serving has an engine of its own; this is for measuring weights where no engine is installed.
    """

    def predict(window: NDArray[np.float32]) -> Prediction:
        logits, spreads = [], {}
        with torch.inference_mode():
            output = trunk(torch.from_numpy(window))
            for channel, organ in enumerate(contract.organs):
                if heads[organ].spec.members == 1:
                    logits.append(heads[organ](output)[0, 0])
                    continue
                logit, spread = with_spread(heads[organ].members(output))
                logits.append(logit[0, 0])
                spreads[channel] = spread[0, 0].numpy()
        frozen = None if output.frozen is None else output.frozen[0].numpy()
        return Prediction(torch.stack(logits).numpy(), output.global_feature[0].numpy(), spreads, frozen)

    return predict
