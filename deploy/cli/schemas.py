"""The JSON schema of what each verb answers with ``--json``: ``python -m deploy.cli.schemas`` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from deploy.cli.arrivals import Came
from deploy.cli.releases import Listed
from deploy.cli.tell import Told
from deploy.doctor.finding import Health
from flows.audit.verify import Exported, Verified
from flows.audit.witnessing import Witnessed
from flows.calibration.calibrate import Calibrated
from flows.calibration.random_audit import Bounds
from flows.cases.erase import Erased
from flows.cases.keep import Accepted
from flows.cases.sets import CaseSet, Frozen
from flows.corrections.fate import Fate
from flows.corrections.report import Ingested, NotTaken
from flows.corrections.sums import Sums
from flows.corrections.withdraw import Withdrawn
from flows.gate.gate_candidate import Gated
from flows.installing.first import First
from flows.installing.moved import Exported as ExportedRelease
from flows.installing.moved import TakenIn
from flows.promotion.promote import Promoted
from flows.promotion.roll_back import Declined, RolledBack
from flows.segmentation.document import Segmented
from flows.speech.speech import Speech
from flows.training.import_checkpoint import Imported
from flows.training.import_nnunet import ImportedNnunet
from flows.tuning.tonight import Tonight
from models.documents import schema
from models.errors import Refusal
from models.gate.silent_results import SilentResults
from models.tuning.document import TuningDocument
from models.tuning.training_document import Trained
from services.records.entries.cases import Case
from services.records.events.event import kinds

FILE = Path(__file__).resolve().parent.parent / "schemas.json"

ANSWERS: Mapping[str, object] = {
    "accept": Accepted,
    "audit export": Exported,
    "audit verify": Verified,
    "audit witness": Witnessed,
    "bounds": Bounds,
    "calibrate": Calibrated,
    "cases add": Case,
    "cases erase": Erased,
    "compared": SilentResults,
    "cases freeze": Frozen,
    "corrections": Sums,
    "decline": Declined,
    "doctor": Health,
    "gate": Gated,
    "import-checkpoint": Imported | ImportedNnunet,
    "ingest": Ingested | NotTaken,
    "promote": Promoted,
    "releases export": ExportedRelease,
    "releases first": First,
    "releases import": TakenIn,
    "rollback": RolledBack,
    "segment": Segmented,
    "tell": Told,
    "silence": Speech,
    "speak": Speech,
    "tonight": Tonight,
    "train": Trained,
    "tune": TuningDocument,
    "withdraw": Withdrawn,
    "(whatever is refused)": Refusal,
}
"""What a verb answers that answers with one document."""

LISTS: Mapping[str, object] = {
    "arrivals": Came,
    "cases list": CaseSet,
    "corrections of": Fate,
    "releases": Listed,
}
"""What a verb answers a list of."""


def schemas() -> dict[str, object]:
    """Return the schemas: of verbs by name, and of the log's payloads by kind of event."""
    answers = {verb: schema(kind) for verb, kind in ANSWERS.items()}
    answers |= {verb: {"type": "array", "items": schema(kind)} for verb, kind in LISTS.items()}
    return {
        "answers": dict(sorted(answers.items())),
        "events": {name: schema(kind) for name, kind in sorted(kinds().items())},
    }


def text() -> str:
    """Return the file's content."""
    return json.dumps(schemas(), indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
