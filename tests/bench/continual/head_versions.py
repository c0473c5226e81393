"""Head versions by a rule: the old site's head or the new one's, by whose studies a study lies nearer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from models.bounds.domain import distance, fit_domain, study_feature
from models.contract import ModelContract
from models.inference.windows import cut, scale_hu, study_origins
from models.network.trunk import Trunk
from tests.bench.continual import cohort
from tests.bench.continual.cohort import SITES, Study
from tests.bench.continual.scale import Scale, once

CALIBRATING = 24
"""Studies of a site by which the rule knows it; neither tests nor those a head was tuned on."""

Found = Mapping[str, Any]


def choices(scale: Scale, trunk: Trunk, contract: ModelContract) -> dict[str, list[bool]]:
    """Return by site, of each of its tests, whether the rule takes the new site's head.

    As the domain of a release is told: by the trunk's global feature, which no head changes.
    """
    known = {"A": cohort.old_site(scale)[:CALIBRATING], "B": cohort.new_site(scale)[-CALIBRATING:]}
    references = {
        site: fit_domain(_features(studies, scale, trunk, contract)) for site, studies in known.items()
    }
    found = {}
    for site in SITES:
        features = _features(cohort.tests(scale, site), scale, trunk, contract)
        found[site] = [distance(f, references["B"]) < distance(f, references["A"]) for f in features]
    return found


def by_choice(old: Found, new: Found, chosen: Mapping[str, Sequence[bool]]) -> dict[str, dict[str, Any]]:
    """Return the DSC by site and organ where each study has the head that was chosen for it."""
    return {
        site: {
            organ: {
                "dsc": [
                    after if takes_new else before
                    for before, after, takes_new in zip(
                        column["dsc"], new["sites"][site][organ]["dsc"], chosen[site], strict=True
                    )
                ]
            }
            for organ, column in old["sites"][site].items()
        }
        for site in chosen
    }


def _features(studies: Sequence[Study], scale: Scale, trunk: Trunk, contract: ModelContract) -> np.ndarray:
    """Return where studies lie, axes (study, feature), each site's once."""
    name = f"features-{studies[0].name}-{len(studies)}.json"

    def compute() -> dict[str, Any]:
        return {study.name: _feature(study, trunk, contract) for study in studies}

    kept = once(scale.folder / "features" / name, compute)
    return np.array([kept[study.name] for study in studies])


def _feature(study: Study, trunk: Trunk, contract: ModelContract) -> list[float]:
    found = []
    for origin in study_origins(study.hu, contract):
        window = scale_hu(cut(study.hu, origin, contract.window_shape), contract.hu_window)
        with torch.inference_mode():
            found.append(trunk(torch.from_numpy(window[None, None])).global_feature[0].numpy())
    return study_feature(np.stack(found)).tolist()
