"""What tuning looks up in the engine that serves is what torch would have given, at the same counted cost."""

from __future__ import annotations

import numpy as np
import torch

from models.network.tuning.flops import FlopTally
from models.network.tuning.looking import looking
from models.network.weights import head_from_bytes, trunk_from_bytes
from services.releases.exporter import export_release
from services.releases.served_look import served_look
from services.releases.store import ReleaseStore
from tests.support.learning import small_release


def test_the_engine_sees_a_window_as_torch_does_and_one_graph_is_counted(tmp_path):
    store = ReleaseStore(tmp_path / "store")
    content, contents, release = small_release()
    store.add_trunk(content)
    for head in contents.values():
        store.add_head(head)
    export_release(release, store, threads=1)
    contract = release.contract
    organs = contract.organs[1:]  # not all: what is not tuned is not asked
    trunk = trunk_from_bytes(content)
    heads = {organ: head_from_bytes(store.head(release.heads[organ])) for organ in organs}
    incumbents = {**heads, "new": None}
    sees = served_look(release, organs, store, threads=1)
    told, counted = FlopTally(), FlopTally()
    torch_look = looking(trunk, incumbents, torch.device("cpu"), told, None)
    engine_look = looking(trunk, incumbents, torch.device("cpu"), counted, sees)
    random = np.random.default_rng(3)
    for _ in range(2):
        window = random.random(contract.window_shape, dtype=np.float32)
        with torch.inference_mode():
            (ours, logits), (theirs, same) = (look(window, incumbents) for look in (torch_look, engine_look))
        assert set(logits) == set(same) == set(organs)
        for organ in organs:
            assert np.abs(logits[organ] - same[organ]).max() < 1e-3
        assert [maps.shape for maps in ours.coarse] == [maps.shape for maps in theirs.coarse]
        for one, other in zip(ours.by_name().values(), theirs.by_name().values(), strict=True):
            assert (one - other).abs().max() < 1e-3
    assert told.total == counted.total > 0
