"""The flow `segment-study`, and what Prefect shows of it.

Tasks exchange paths and release numbers: voxels never leave a task.
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.arrivals.archived_study import is_archived, note_failed
from flows.launching import RUN_SECONDS
from flows.retries import worth_trying_again
from flows.segmentation.document import Segmented
from flows.segmentation.segment import segment
from models.documents import to_json
from models.errors import LeaseLost, OrganloopError, Refusal, Refused
from models.uids import StudyUid
from services.settings import Settings
from services.wiring import connect


@task(name="segment", retries=3, retry_delay_seconds=[2, 10, 30], retry_condition_fn=worth_trying_again)
def segment_task(source: str | Path, out: Path | None, release: int | None) -> Segmented | Refusal:
    """Segment one study; the document of the `segment` verb, of a refusal too."""
    services = connect(Settings())
    try:
        return segment(source, out, services, release=release).document
    except OrganloopError as error:
        if is_archived(source) and not isinstance(error, LeaseLost):
            note_failed(StudyUid(str(source)), error, services.records)
        if not isinstance(error, Refused):
            raise
        return error.said


@task(name="publish findings")
def publish_task(source: str | Path, document: Segmented | Refusal) -> None:
    """Show flags and volumes in the Prefect dashboard; of a refusal its code and numbers."""
    if isinstance(document, Refusal):
        study = f"Study {source}" if is_archived(source) else "A study in a folder"
        refusal = {"code": document.code, "detail": document.detail, **document.measured}
        said = f"{study} is refused: {document.code}"
        create_table_artifact(key="findings", table=[refusal], description=said)
        return
    create_table_artifact(
        key="findings",
        table=[to_json(organ) for organ in document.organs],
        description=f"Study {document.study_uid}, release {document.release}",
    )


@flow(name="segment-study", timeout_seconds=RUN_SECONDS)
def segment_study(
    source: str | Path, out: Path | None = None, release: int | None = None
) -> Segmented | Refusal:
    """Segment one CT study, a folder or a UID in the archive, and store organ SEG, review SEG and SR.

    A refusal on the data is an answer, not a failure: its code, detail and measured numbers are returned.
    """
    document = segment_task(source, out, release)
    publish_task(source, document)
    return document
