"""A release's contract: what it says, and how it comes back from JSON."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from models.contract import ModelContract
from tests.support.tiny_networks import tiny_contract


def test_a_contract_comes_back_from_json_and_says_only_what_is_not_as_it_always_was() -> None:
    contract = tiny_contract()
    assert "antialias" not in contract.to_json(), "digests of older releases hold"
    for one in (contract, replace(contract, antialias=False)):
        assert ModelContract.from_json(json.loads(json.dumps(one.to_json()))) == one
    assert replace(contract, antialias=False).to_json()["antialias"] is False
    with pytest.raises(TypeError, match="blur"):
        ModelContract.from_json({**contract.to_json(), "blur": True})
