"""The runner of `make proofs`: failures are told, and what has passed is not proven twice."""

from __future__ import annotations

import pytest

from tests.proofs.__main__ import outcome_of, passed_before, proofs, prove, tree_digest


@pytest.mark.parametrize(
    ("code", "last", "outcome"),
    [
        (0, "2 passed in 0.1s", "passed"),
        (1, "1 failed, 2 passed in 0.1s", "FAILED"),
        (2, "1 error in 0.1s", "FAILED"),
        (0, "1 skipped in 0.1s", "left out"),
        (0, "1 passed, 1 skipped in 0.1s", "left out"),
        (5, "no tests ran in 0.1s", "holds no test"),
    ],
)
def test_what_became_of_a_proof(code, last, outcome):
    assert outcome_of(code, f"..\n{last}\n") == outcome


def test_only_a_proof_that_passed_is_not_due_again(tmp_path):
    path, kept = tmp_path / "test_made.py", tmp_path / "kept"
    path.write_text("def test_it(): assert 1 + 1 == 3")
    assert prove("made", path, "tree", kept)[0] == "FAILED"
    assert passed_before("made", "tree", kept) is None
    path.write_text("def test_it(): assert 1 + 1 == 2")
    assert prove("made", path, "tree", kept)[0] == "passed"
    assert passed_before("made", "tree", kept) is not None
    assert passed_before("made", "another tree", kept) is None


def test_a_change_in_any_judged_folder_makes_proofs_due(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "a.py").write_text("A = 1\n")
    before = tree_digest(tmp_path)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "x").write_text("what proofs leave behind")
    assert tree_digest(tmp_path) == before
    (tmp_path / "models" / "a.py").write_text("A = 2\n")
    assert tree_digest(tmp_path) != before


def test_every_proof_has_a_name():
    assert proofs()
