"""What a repeated step must not share: a result under other settings has other UIDs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

import flows.segmentation.segment as flow_module
from flows.segmentation.segment import result_key, settings_digest
from models.organs import CATALOGUE
from models.release import Release
from services.dicom.results.write import receiver
from tests.support.tiny_networks import tiny_contract

PROFILE = "python/test/cpu/f32/2-threads"


def test_the_same_settings_have_the_same_digest_whatever_the_order_of_the_organs() -> None:
    assert settings_digest(PROFILE, ["liver", "aorta"]) == settings_digest(PROFILE, ["aorta", "liver"])


def test_another_serving_profile_or_organ_is_another_result() -> None:
    first = settings_digest(PROFILE, ["liver"])
    assert first != settings_digest("python/test/cpu/f32/4-threads", ["liver"])
    assert first != settings_digest(PROFILE, ["liver", "aorta"])


def test_another_version_of_the_program_is_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    first = settings_digest(PROFILE, ["liver"])
    monkeypatch.setattr(flow_module, "version", lambda _: "0.0.0")
    assert first != settings_digest(PROFILE, ["liver"])


def test_another_colour_in_the_catalogue_is_another_result(monkeypatch: pytest.MonkeyPatch) -> None:
    first = settings_digest(PROFILE, ["liver"])
    repainted = (replace(CATALOGUE[0], cielab=(1.0, 2.0, 3.0)), *CATALOGUE[1:])
    monkeypatch.setattr(flow_module, "CATALOGUE", repainted)
    assert first != settings_digest(PROFILE, ["liver"])


def test_the_key_of_a_result_knows_its_settings() -> None:
    series = SimpleNamespace(images=[SimpleNamespace(SOPInstanceUID=uid) for uid in ("1.2", "1.3")])
    release = Release(1, None, "t", {"liver": "l", "spleen": "s"}, tiny_contract())
    keys = {result_key(series, release, "ohif", settings_digest(p, ["liver"])) for p in (PROFILE, "other")}
    assert len(keys) == 2


def test_the_key_of_a_result_knows_whether_labels_bear_flags() -> None:
    series = SimpleNamespace(images=[SimpleNamespace(SOPInstanceUID="1.2")])
    release = Release(1, None, "t", {"liver": "l", "spleen": "s"}, tiny_contract())
    names = [receiver("ohif", flags_in_labels=flags) for flags in (False, True)]
    assert names[0] == "ohif"  # as it was before there was such an option
    assert len({result_key(series, release, name, "settings") for name in names}) == 2


def test_the_key_of_a_result_knows_whether_a_summary_goes_with_it() -> None:
    series = SimpleNamespace(images=[SimpleNamespace(SOPInstanceUID="1.2")])
    release = Release(1, None, "t", {"liver": "l", "spleen": "s"}, tiny_contract())
    names = [receiver("ohif", flags_in_labels=flags, summary=page) for flags in (0, 1) for page in (0, 1)]
    assert len({result_key(series, release, name, "settings") for name in names}) == 4


def test_a_result_under_other_targets_is_another_result():
    first = settings_digest(PROFILE, ["liver"])
    assert settings_digest(PROFILE, ["liver"], False, None) == first
    under = {settings_digest(PROFILE, ["liver"], False, digest * 64) for digest in "01"}
    assert len(under | {first}) == 3
