"""The flow `ingest-correction`, and what Prefect shows of it."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_table_artifact

from flows.arrivals.archived_study import is_archived, note_failed
from flows.corrections.ingest import NO_STRANGER, ingest, memory_of
from flows.corrections.outcome import note_refused_save, outcome_of
from flows.corrections.report import Ingested, NotTaken, refusal
from flows.corrections.sums import sums
from flows.launching import RUN_SECONDS
from flows.retries import worth_reading_again
from models.documents import to_json
from models.errors import LeaseLost, OrganloopError, Refused
from models.uids import SopUid
from services.pictures.slices import data_url
from services.settings import Settings
from services.wiring import connect_in_process


@task(name="ingest", retries=2, retry_delay_seconds=[10, 60], retry_condition_fn=worth_reading_again)
def ingest_task(source: str | Path, study: Path | None, sent: Path | None) -> Ingested | NotTaken:
    """Read one SEG that came in; the document of the `ingest` verb, status `refused` where it refuses."""

    def show(picture: bytes, where: str) -> None:
        create_image_artifact(
            key="correction",
            image_url=data_url(picture),
            description=f"What was added (green) and removed (red), {where}",
        )

    settings = Settings()
    try:
        memory = memory_of(settings)
        if memory is None and is_archived(source):
            detail = "no release has served from this home: nothing of ours can have been corrected"
            refused = Refused("no-result", detail)
            note_refused_save(source, refused, connect_in_process(settings).records)
            return refusal("refused", None, refused)
        return ingest(source, study, sent, memory, show=show)
    except OrganloopError as error:
        if isinstance(error, Refused) and error.code in NO_STRANGER:
            return refusal("refused", None, error)  # a person has to act: another run would end the same
        if is_archived(source) and not isinstance(error, LeaseLost):
            note_failed(SopUid(str(source)), error, connect_in_process(settings).records)
        raise


@task(name="publish ledger")
def publish_ledger_task(document: Ingested | NotTaken) -> None:
    """Show what the reader changed in the Prefect dashboard; of a refusal its code and numbers."""
    outcome = outcome_of(document)
    table = to_json(document.organs)
    if isinstance(document, NotTaken):
        table = [{"code": outcome.code, "detail": outcome.detail, **document.measured}]
    create_table_artifact(
        key="ledger",
        table=table,
        description=f"Study {document.study_uid or 'not known'}: {document.status}, {outcome.code}: "
        f"{outcome.detail}",
    )


@task(name="publish sums")
def publish_sums_task() -> None:
    """Show which organ costs readers the most, over all corrections, in the Prefect dashboard."""
    memory = memory_of(Settings())
    if memory is not None:
        document = sums(memory.records, memory.policy)
        said = f"All valid corrections, by organ; saves that were not taken: {len(document.not_taken)}"
        create_table_artifact(key="corrections", table=to_json(document.organs), description=said)


@flow(name="ingest-correction", timeout_seconds=RUN_SECONDS)
def ingest_correction(
    source: str | Path, study: Path | None = None, sent: Path | None = None
) -> Ingested | NotTaken:
    """Tell what a SEG that came in is, and keep what a reader meant by it.

    A SOP Instance UID is enough: study and result are found in the archive.
    """
    document = ingest_task(source, study, sent)
    publish_ledger_task(document)
    publish_sums_task()
    return document
