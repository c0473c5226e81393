"""A release's contract: what it says, and how it comes back from JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from models.contract import ModelContract
from models.release import Release
from models.weights_source import LONGEST, WeightsSource
from tests.support.tiny_networks import tiny_contract


def test_a_contract_comes_back_from_json_and_says_only_what_is_not_as_it_always_was() -> None:
    contract = tiny_contract()
    assert "antialias" not in contract.to_json(), "digests of older releases hold"
    for one in (contract, replace(contract, antialias=False)):
        assert ModelContract.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert replace(contract, antialias=False).to_json()["antialias"] is False
    with pytest.raises(TypeError, match="blur"):
        ModelContract.from_json({**contract.to_json(), "blur": True})


def test_whose_weights_they_are_is_part_of_the_digest_and_only_where_somebody_said_it() -> None:
    contract = tiny_contract()
    assert "weights" not in contract.to_json(), "digests of older releases hold"
    said = [replace(contract, weights=WeightsSource(licence, "a hospital")) for licence in ("MIT", "CC0-1.0")]
    for one in said:
        assert ModelContract.from_json(json.loads(json.dumps(one.to_json()))) == one
    heads = dict.fromkeys(contract.organs, "0" * 64)
    digests = {Release(1, None, "0" * 64, heads, one).digest for one in (contract, *said)}
    assert len(digests) == 3, "UIDs of results hang on it"


@pytest.mark.parametrize("origin", ["", " ", "two\nlines", "Universität", "x" * (LONGEST + 1)])
def test_what_no_character_set_of_a_ct_holds_is_no_origin(origin: str) -> None:
    with pytest.raises(ValueError, match="the origin of the weights must be one line"):
        WeightsSource("MIT", origin)
