"""One head of an imported network learns from a site's readers: gain on that site's unseen copies, and cost.

The network learnt from copies as site A scans. Site B scans without contrast medium, softer, noisier and in
slices of 5 mm. ``ORGANLOOP_BENCH_ORGAN`` names the organ that is corrected there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from flows.serving.serve import write
from flows.tuning.tune import tune
from models.metrics.dsc import dsc
from models.network.checkpoints.nnunet.release import Asked
from models.organs import KEYS
from models.phantom.case import PhantomCase
from models.tuning.document import TuningDocument
from models.tuning.settings import TuningSettings
from tests.bench.imported.material import THREADS, network, patient
from tests.support.nnunet_site import NnunetSite, open_site
from tests.support.promotion import InProcessEndpoint

pytestmark = pytest.mark.timeout(4 * 3600)

ORGAN = os.environ.get("ORGANLOOP_BENCH_ORGAN", "liver")
CORRECTED, UNSEEN = range(100, 104), range(200, 204)


@dataclass(frozen=True)
class Learnt:
    """A site that corrected an organ on some copies, and what it learnt from them."""

    site: NnunetSite
    document: TuningDocument
    endpoint: InProcessEndpoint


@pytest.fixture(scope="module")
def organs(test_data) -> Path:
    return test_data("ct-organs-nifti", "a real torso with 61 organs")


@pytest.fixture(scope="module")
def learnt(organs, tmp_path_factory) -> Learnt:
    """Correct copies of site B, and tune with the settings of the command."""
    folder = tmp_path_factory.mktemp("site")
    site = open_site(folder, network(organs), Asked("RAS"), ORGAN, partial(patient, organs, "B"))
    for seed in CORRECTED:
        site.correct(seed)
    document = tune(site.services, (ORGAN,), TuningSettings(), print)
    assert document.release is not None
    write(site.services.releases.release(document.release), site.services)
    endpoint = InProcessEndpoint(site.services.repository.versions_folder, THREADS)
    endpoint.load()
    return Learnt(site, document, endpoint)


def test_gain_on_unseen_copies_of_its_site(learnt, organs, capsys):
    gains = {}
    for site in "BA":
        scores = [_scores(learnt, patient(organs, site, seed)) for seed in UNSEEN]
        gains[site] = scores
    cost = learnt.document.cost
    with capsys.disabled():
        for site, scores in gains.items():
            shown = ", ".join(f"{before:.3f} to {after:.3f}" for before, after in scores)
            print(f"\n{ORGAN}, unseen copies of site {site}: DSC {shown}")
        print(learnt.document.levels, learnt.document.ladders)
        print(cost, learnt.document.seconds)
    before, after = np.mean(gains["B"], axis=0)
    assert after > before


def _scores(learnt: Learnt, case: PhantomCase) -> tuple[float, float]:
    """Return DSC of incumbent and candidate; require that no other organ has another bit."""
    assert learnt.document.release is not None
    answers = [
        learnt.endpoint.segment(case.volume.hu, number, ct=case.volume.geometry)
        for number in (1, learnt.document.release)
    ]
    contract = learnt.site.services.releases.release(1).contract
    own = contract.organs.index(ORGAN)
    found = []
    for answer in answers:
        assert answer.drawn is not None
        found.append(dsc(answer.drawn.on_ct[own].dense(), case.truth[ORGAN]) or 0.0)
    old, new = answers
    for channel, organ in enumerate(contract.organs):
        if organ != ORGAN:
            assert old.drawn.on_ct[channel] == new.drawn.on_ct[channel], organ
            assert np.array_equal(old.probability[channel], new.probability[channel]), organ
            assert np.array_equal(old.disagreement[channel], new.disagreement[channel]), organ
    assert set(contract.organs) <= set(KEYS)
    return found[0], found[1]
