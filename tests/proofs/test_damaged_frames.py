"""Ten thousand damaged frames of every encoding: none is missed, and none that is whole is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np

from tests.support.damaged_frames import (
    CONTENTS,
    DAMAGES,
    ENCODERS,
    HARMLESS,
    deflated_cut,
    made,
    picture,
    refusal_of,
)
from tests.support.odd_codestreams import ODD

ROUNDS = 40


def test_of_ten_thousand_damaged_frames_none_is_missed(tmp_path, capsys):
    rng = np.random.default_rng(100)
    missed, refused, wrongly = [], Counter(), []
    for name, encode in (ENCODERS | ODD).items():
        for content in CONTENTS:
            whole = made(tmp_path, picture(content, rng), encode)
            for damage in DAMAGES:
                for _ in range(ROUNDS):
                    said = refusal_of(damage(whole, rng, tmp_path))
                    refused[damage.__name__] += said is not None
                    if said is None or not said.startswith("bad-pixel-data"):
                        missed.append((name, content, damage.__name__, said))
            for harmless in HARMLESS:
                for _ in range(3):
                    said = refusal_of(harmless(whole, rng, tmp_path))
                    wrongly += [(name, content, harmless.__name__, said)] if said else []
    for content in CONTENTS:
        for _ in range(200):
            said = refusal_of(deflated_cut(picture(content, rng), rng, tmp_path))
            refused["deflated_cut"] += said is not None
            missed += [("deflated", content, "cut", said)] if said is None else []
    with capsys.disabled():
        print(f"\n{sum(refused.values())} of {sum(refused.values()) + len(missed)} damaged frames refused:")
        print("  " + ", ".join(f"{count} {kind}" for kind, count in refused.items()))
    assert sum(refused.values()) > 10_000
    assert missed == []
    assert wrongly == []
