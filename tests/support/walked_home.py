"""Every verb of this program at a home that an earlier version made.

On SQLite a real Triton serves the home; on PostgreSQL the engine in this process does.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from deploy.cli.main import app
from deploy.stack.triton import TritonServer
from services import wiring
from services.settings import Settings
from services.wiring import connect_in_process
from tests.conftest import ROOT
from tests.support.earlier_homes import EarlierHome
from tests.support.every_verb import verbs_of
from tests.support.promotion import InProcessEndpoint
from tests.support.serving import ENVIRONMENT, thrown_away

BY = ("--approver", "Dr B", "--reason", "after the update")
GROUPS = ("audit", "cases", "releases")  # verbs of two words begin so


@dataclass
class Walk:
    """The command at a home, and the verbs that were called."""

    site: EarlierHome
    walked: set[str] = field(default_factory=set)

    def __call__(self, *words: object, ends: int = 0, **variables: str) -> Any:
        """Return the document of a verb, which must end with this exit code."""
        code, document = self.site.organloop(*words, **variables)
        assert code == ends, (words, code, document)
        self.walked.add(" ".join(map(str, words[: 2 if words[0] in GROUPS else 1])))
        return document


def walk_every_verb(was: EarlierHome, restored: str | None, tmp_path: Path) -> None:
    """Let the night that was cut short end, decide on the candidate, promote it and take it back again.

    Parameters
    ----------
    was
        The home, which is changed.
    restored
        Address of an empty database for what is restored from its backup; None for SQLite.
    tmp_path
        For what the verbs write.
    """
    if was.said["vector"] != vector():  # the profile does not name it, and scores of both are not compared
        shutil.rmtree(was.settings.score_store)
    organloop = Walk(was)
    assert organloop("prepare") == {"incumbent": 2}
    with served(was, tmp_path / "server") as organloop.site:
        organloop("status", ends=1)
        organloop("down")
        said = was.said
        before = organloop("audit", "verify", "--against", was.log)["events"]
        assert len(organloop("arrivals")) == 4
        assert len(organloop("cases", "list")) == 3
        assert organloop("corrections")["corrections"] > 0
        [fate] = organloop("corrections", said["results"][0]["study_uid"])
        assert [one["learnt"] for one in fate["organs"] if one["organ"] == "aorta"] == [
            [{"release": 2, "state": "promoted", "serves": True}]
        ]
        night = {one["organ"] for one in organloop("tonight")["organs"] if one["learns"]}
        assert night == {"stomach", "aorta"}, "what the night that was cut short had begun"
        assert organloop("bounds")["drawn"] == len(was.studies_in("audit-drawn"))
        assert "organloop_" in organloop("metrics", "--once")
        assert organloop("compared")["studies"] == 0
        organloop("register", ends=2)  # no Prefect server is named
        assert organloop("doctor", "--no-store", ends=1)["findings"]  # nor does one run
        assert organloop("audit", "verify")["events"] == before, "who only looks changes nothing"

        first = said["results"][0]["seed"]
        of_first = {one["release"]: one for one in said["results"] if one["seed"] == first}
        for number, result in of_first.items():
            out = tmp_path / f"again-{number}"
            again = organloop("segment", was.ct(first), "--release", number, "--out", out)
            assert_same_result(was, result, again)
        assert of_first.keys() == {1, 2}

        [fit, *_] = was.home.glob("tuning/*/*/*.pt")
        tuned = organloop("tune", "--level", "head")
        assert (tuned["release"], tuned["parent"]) == (4, 2)
        assert not fit.parent.parent.exists(), "the night has come to its end"
        assert tuned["corrections"] > 0
        organloop("decline", 4, *BY)

        decided = organloop("gate", 3)
        assert decided["decision"] in ("promote", "needs-approval")
        assert organloop("promote", 3, *BY)["replaced"] == 2
        assert organloop("segment", was.ct(first), "--out", tmp_path / "again-3")["release"] == 3
        assert organloop("rollback", *BY)["release"] == 2
        assert organloop("segment", was.ct(first), "--out", tmp_path / "back")["release"] == 2
        rolled = [tmp_path / name / "organ-seg.dcm" for name in ("again-2", "back")]
        assert rolled[0].read_bytes() == rolled[1].read_bytes()

        [phantom] = organloop("phantom", "--out", tmp_path / "phantoms", "--site", "B", "--seed", 77)
        [checked] = organloop("check", phantom["ct"])
        assert checked["verdict"] == "ok"
        case = ("--truth", phantom["truth"], "--origin", "independent", "--purpose", "gate")
        organloop("cases", "add", phantom["ct"], *case)
        assert organloop("cases", "freeze", "--purpose", "gate")["version"] == 2

        seed = said["to_come"]
        saved, ct = was.made / "studies" / str(seed) / "saved.dcm", was.ct(seed)
        [result] = [one for one in said["results"] if one["seed"] == seed]
        sent = was.home / result["objects"][0]["path"]
        taken = organloop("ingest", saved, "--study", ct, "--sent", sent)
        assert (taken["status"], taken["kept"]) == ("correction", True)
        accepted = ("--organs", "liver", "--reader", "Dr A")
        assert organloop("accept", result["study_uid"], *accepted)["organs"] == ["liver"]
        uid = str(dcmread(saved, stop_before_pixels=True).SOPInstanceUID)
        organloop("withdraw", uid, "--reader", "Dr A", "--reason", "after the update")
        assert organloop("calibrate")["parent"] == 2
        assert organloop("train", "--begin", "incumbent", "--steps", 1)["release"] == 6
        organloop("import-checkpoint", saved, ends=3)  # it is none

        erased = organloop("cases", "erase", was.ct(1), *BY)
        assert erased["releases"] == [2, 4, 6]  # and what was tuned and trained just now
        assert organloop("audit", "verify", "--against", was.log)["events"] > before
        elsewhere = {"ORGANLOOP_WITNESS_FILE": str(tmp_path / "elsewhere")}
        told = organloop("audit", "witness", **elsewhere)["head"]
        assert organloop("audit", "verify", **elsewhere)["head"] == told
        organloop("audit", "export", tmp_path / "longer.jsonl")
        assert (tmp_path / "longer.jsonl").read_bytes().startswith(was.log.read_bytes())
        states = {one["release"]: one["state"] for one in organloop("releases")}
        assert states == dict.fromkeys((1, 2, 3), "promoted") | {
            4: "declined",
            5: "candidate",
            6: "candidate",
        }
        exported = organloop("releases", "export", 2, tmp_path / "release.tar", *BY[:2])
        taken = organloop("releases", "import", tmp_path / "release.tar")
        assert (taken["release"], taken["sha256"], taken["new"]) == (2, exported["sha256"], False)
        first = ("first", tmp_path / "release.tar", "--serve", "silently", *BY)
        assert organloop("releases", *first)["changed"] is False
        assert organloop("account")["name"] is None
        organloop("tell", ends=3)  # it names nobody
        assert organloop("silence", *BY)["speaks"] is False
        assert organloop("speak", *BY)["speaks"] is True
        organloop("backup", "--out", tmp_path / "backups")
    [backup] = (one for one in (tmp_path / "backups").iterdir() if one.is_dir())
    organloop.site = replace(was, home=tmp_path / "restored", database=restored)
    assert organloop("restore", backup)["incumbent"] == 2
    assert organloop("audit", "verify", "--against", was.log)["faults"] == []
    assert organloop.walked | {"up"} == verbs_of(app), "a new verb is tried here; `up` in tests/proofs"


@contextmanager
def served(was: EarlierHome, server: Path) -> Iterator[EarlierHome]:
    """Serve a home: by a real Triton where its records are in SQLite, else in this process."""
    if was.database is None:
        if not (ENVIRONMENT / "bin" / "python").exists():
            pytest.skip("the embedded Triton's environment .venv-triton is not there (make setup)")
        with thrown_away(TritonServer(server, was.settings.triton_repository, ENVIRONMENT, ROOT)) as process:
            yield replace(was, triton_url=process.url)
        return
    with pytest.MonkeyPatch.context() as patch:
        endpoint = InProcessEndpoint(was.settings.triton_repository / "organ_segmenter")
        endpoint.load()

        def in_process(settings: Settings) -> wiring.Services:
            return replace(connect_in_process(settings), endpoints=(endpoint,))

        patch.setattr(wiring, "connect", in_process)
        yield was


def vector() -> str:
    """Return how wide this processor's vectors are, as the homes say it: other widths, other last bits."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next((line for line in lines if line.startswith("flags")), "")
    return "avx512f" if "avx512f" in flags.split() else "no avx512f"


def assert_same_result(was: EarlierHome, old: dict[str, Any], new: dict[str, Any]) -> None:
    """A result is what it was: to the voxel on a processor of the same kind, else to a hundredth."""
    assert (new["study_uid"], new["series_uid"]) == (old["study_uid"], old["series_uid"])
    found = {one["organ"]: one["volume_ml"] for one in new["organs"]}
    assert found == pytest.approx({one["organ"]: one["volume_ml"] for one in old["organs"]}, rel=0.01)
    if was.said["vector"] == vector():
        before, after = dcmread(was.home / old["objects"][0]["path"]), dcmread(new["objects"][0]["path"])
        assert [one.SegmentLabel for one in after.SegmentSequence] == [
            one.SegmentLabel for one in before.SegmentSequence
        ]
        assert after.NumberOfFrames == before.NumberOfFrames
        assert after.PixelData == before.PixelData
