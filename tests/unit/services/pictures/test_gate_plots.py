from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from models.gate.document import GateDocument
from models.gate.paired import Histogram, MeanDifference
from models.gate.report import Decision, GateCase, OrganGate
from services.pictures.gate_plots import bootstraps, differences


def report(*organs: str, sites: tuple[str, ...] = ("A", "B"), bound: float | None = 0.02) -> GateDocument:
    rng = np.random.default_rng(0)
    cases = tuple(
        GateCase(
            case=f"case {n}",
            site=sites[n % len(sites)],
            origin="accepted-from-1" if n % 5 == 0 else "independent",
            groups={},
            incumbent=0.8,
            candidate=0.8 + d,
            difference=None if n == 7 else d,
            surface_difference=None,
            may_lose=None,
        )
        for n, d in enumerate(rng.normal(0.04, 0.03, 24).tolist())
    )
    mean = MeanDifference(
        patients=24, incumbent=0.8, candidate=0.84, mean=0.04,
        deviation=None, lower_bound=bound,
        drawn=Histogram(0.0, 0.08, (1, 4, 9, 4, 1)),
    )  # fmt: skip
    passed = Decision.PROMOTE
    tuned = [OrganGate(one, True, 0.02, passed, (), gate_set=mean, cases=cases) for one in organs]
    untouched = OrganGate("liver", False, 0.01, passed, ())
    return GateDocument(2, 1, "", "", "cpu", {}, passed, (), (*tuned, untouched))


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    return imread(io.BytesIO(png), format="png")[..., :3]


def shows(picture: np.ndarray, colour: str) -> bool:
    rgb = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return bool((np.abs(picture - rgb).max(axis=-1) < 0.02).any())


def test_every_site_has_its_colour() -> None:
    picture = pixels(differences(report("spleen", "stomach")))
    assert shows(picture, "#0072B2")
    assert shows(picture, "#E69F00")
    assert not shows(picture, "#009E73")
    assert not shows(pixels(differences(report("spleen", sites=("A",)))), "#E69F00")


def test_a_panel_is_drawn_for_each_tuned_organ_and_the_same_report_is_the_same_picture() -> None:
    one, three = (differences(report(*organs)) for organs in (("spleen",), ("spleen", "aorta", "postcava")))
    assert pixels(three).shape[1] > 1.5 * pixels(one).shape[1]
    assert differences(report("spleen")) == one


@pytest.mark.parametrize("sites", [("",), tuple("ABCDEFGH")])
def test_unknown_and_many_sites_are_drawn_without_a_bound_too(sites: tuple[str, ...]) -> None:
    assert differences(report("spleen", sites=sites, bound=None))


def test_where_no_tuned_organ_was_measured_there_is_no_picture() -> None:
    assert differences(report()) is None
    assert differences(replace(report(), organs=())) is None


def test_the_means_the_bootstrap_drew_are_shown_beside_the_margin() -> None:
    picture = pixels(bootstraps(report("spleen", "stomach")))
    assert shows(picture, "#999999")
    assert (np.ptp(picture, axis=-1) > 0.2).any(), "the margin is red"
    assert bootstraps(report("spleen", bound=None))
    assert bootstraps(report()) is None
