"""The verbs by which a release moves: `releases export`, `releases import`, and `releases first`."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.acting import Approver, Reason, acting
from deploy.cli.console import Json, Outcome, answer, progress
from deploy.cli.releases import releases
from models.people import Role
from services.settings import Settings

if TYPE_CHECKING:  # they would import what a quick verb does without
    from flows.installing.first import First
    from models.release import Release
    from services.inference.port import Endpoint


class Serving(StrEnum):
    """How the first release serves."""

    SILENTLY = "silently"
    OPENLY = "openly"


ReleaseOrCheckpoint = Annotated[
    Path,
    typer.Argument(
        help="File of `organloop releases export`, or a checkpoint for `organloop import-checkpoint`.",
        exists=True,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the group `releases`, which is the command's already."""
    releases.command("export")(export)
    releases.command("import")(import_)
    releases.command("first")(first)


def export(
    number: Annotated[int, typer.Argument(min=1, help="The release.")],
    file: Annotated[Path, typer.Argument(help="File to write; what is there is replaced.")],
    approver: Approver = "",
    signing_key: Annotated[
        Path | None,
        typer.Option(
            help="PEM of an Ed25519 private key that signs it. Default: it is unsigned.", exists=True
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a release into one file for another site, with your name; nothing of a patient goes with it.

    Weights, contract and calibration are in it, each by its digest. Cases, corrections and their UIDs,
    scores, gate reports, evidence packs and pictures are not.
    """

    def verb() -> Outcome:
        from flows.installing.moved import NOT_CLINICAL, export_to_file
        from services.records.store import open_records
        from services.releases.store import ReleaseStore

        settings = Settings()
        act = acting(approver, Role.APPROVER, settings)
        records = act.in_records(open_records(settings.records_url))
        store = ReleaseStore(settings.release_store)
        document = export_to_file(number, file, store, records, act.name, signing_key)
        lines = [
            f"release {number} is in {document.file}, {document.bytes / 1e6:.1f} MB",
            f"signed by: {document.signer}",
            f"tell the other site by another way: SHA-256 {document.sha256}",
            *([NOT_CLINICAL] if document.demonstration else []),
        ]
        return Outcome(document, lines)

    answer(verb, as_json)


def import_(
    file: Annotated[Path, typer.Argument(help="As `organloop releases export` wrote it.", exists=True)],
    as_json: Json = False,
) -> None:
    """Take another site's release in as a candidate, under the next number here; it serves nobody by that.

    Every digest is compared before anything is kept. Told again, it is the same candidate. Exit 3 if the file
    is not what it says, or not signed by whom ORGANLOOP_RELEASE_KEYS names.
    """

    def verb() -> Outcome:
        from deploy.preparation import STARTER
        from flows.installing.moved import NOT_CLINICAL, read_trusted, take_in
        from services.records.store import open_records
        from services.releases.store import ReleaseStore

        settings = Settings()
        read, trusted = read_trusted(file, settings.release_keys, ReleaseStore(STARTER))
        store, records = ReleaseStore(settings.release_store), open_records(settings.records_url)
        document = take_in(read, trusted, store, records)
        whose = f"release {document.exported}, exported by {document.exporter}"
        said = "trusted here" if document.trusted else "which nobody here has vouched for"
        was_here = "" if document.new else ", which was here already"
        lines = [
            f"{document.state}: release {document.release}{was_here} ({whose})",
            f"signed by: {document.signer}, {said}; SHA-256 of the file {document.sha256}",
            *([NOT_CLINICAL] if document.demonstration else []),
            "it serves nobody: `organloop gate` weighs it, `organloop releases first` lets a first one serve",
        ]
        return Outcome(document, lines)

    answer(verb, as_json)


def first(
    file: ReleaseOrCheckpoint,
    serve: Annotated[
        Serving, typer.Option(help="silently: results are kept here; openly: they go to the archive.")
    ],
    reason: Reason,
    approver: Approver = "",
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Folder of labelled cases, each a folder with ct/ and truth.npz or truth.dcm, drawn without "
            "our result: it is calibrated on them before it serves.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    organs: Annotated[
        str | None, typer.Option(help="Of a checkpoint: as `organloop import-checkpoint` has it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take in a release and let it serve, as the first one of a site where none serves.

    It is taken in, exported to ONNX and proven against torch, calibrated where cases are given, loaded on
    every Triton that is known, and made the incumbent by your name. Told again, it completes what is left, or
    changes nothing and says so. Exit 3 if another release serves. A network of nnU-Net goes by
    `organloop import-checkpoint --first`. Needs torch: in containers the trainer's image has it.
    """

    def verb() -> Outcome:
        from deploy.preparation import STARTER
        from flows.acts import require_name
        from flows.calibration.calibrate import calibrate_release
        from flows.cases.keep import add_case
        from flows.installing import first as installing
        from flows.installing.moved import alike, read_trusted, take_in
        from flows.serving.serve import load, write
        from flows.training.import_checkpoint import is_import_of, keep_checkpoint
        from models.corrections.ledger import INDEPENDENT
        from services.addresses import stack_address
        from services.records.entries.cases import Purpose
        from services.releases.release_file import is_release_file
        from services.releases.store import ReleaseStore
        from services.wiring import connect, connect_in_process

        settings = Settings()
        act = acting(approver, Role.APPROVER, settings)
        is_known = bool(settings.triton_url or stack_address(settings, "triton_url"))
        services = act.connected(connect if is_known else connect_in_process)
        store, records = services.releases, services.records
        if not is_known:
            progress("no Triton is known: it will load the release as it starts")

        def take(found: Release | None) -> tuple[Release, str]:
            if read is not None:
                taken = take_in(read, trusted, store, records)
                return found or store.release(taken.release), taken.signer
            if found is None:
                keys = [key.strip() for key in organs.split(",")] if organs else None
                made = keep_checkpoint(file, store, records, settings.threads, keys, progress)
                found = store.release(made.release)
            return found, "checkpoint"

        read, trusted = None, False
        if is_release_file(file):
            read, trusted = read_trusted(file, settings.release_keys, ReleaseStore(STARTER))
        cases = [] if calibration is None else installing.cases_in(calibration)
        require_name(act.name, reason)
        serving = installing.serves_already(
            records,
            store,
            lambda one: is_import_of(one, file, records) if read is None else alike(one, read.release),
        )
        if serving is not None and cases:
            installing.refuse_late_cases(serving, records)
        release, came_by = take(serving)
        installing.refuse_declined(release, records)
        if serving is None and cases:
            for ct, truth in cases:
                add_case(
                    ct, truth, Purpose.CALIBRATION, INDEPENDENT, services, release=release, progress=progress
                )
            calibrated = calibrate_release(services, progress, release)
            release = store.release(calibrated.release)
        write(release, services, progress)

        def load_on(endpoint: Endpoint) -> None:
            load(release, replace(services, endpoints=(endpoint,)), progress)

        *reached, is_loaded = installing.load_where_reached(release.number, services.endpoints, load_on)
        openly = serve is Serving.OPENLY
        is_new = installing.let_serve(release, store, records, act.name, reason, openly=openly)
        changed = is_new or is_loaded
        document = installing.outcome(release, records, came_by, (reached[0], reached[1]), changed=changed)
        return Outcome(document, _said(document, serve))

    answer(verb, as_json)


def _said(document: First, asked: Serving) -> list[str]:
    from flows.installing.moved import NOT_CLINICAL

    bounds = {
        "calibrated-here": "its bounds are of this site's cases",
        "carried": "its bounds are of another site's cases: calibrate it here before anybody relies on them",
        "none": "it claims no bound: every organ is for review",
    }
    lines = [
        f"release {document.release} serves ({document.approver}: {document.reason}); it came by: "
        f"{document.came_by}",
        bounds[document.bounds],
        "results go to the archive" if document.speaks else "results are kept here, none goes to the archive",
        *(f"not reached, loads it as it starts: {why}" for why in document.not_reached),
    ]
    if document.speaks and asked is Serving.SILENTLY:
        lines.append("the site speaks by an earlier act: `organloop silence` ends that")
    if document.demonstration:
        lines.append(NOT_CLINICAL)
    return [*([] if document.changed else ["all was so already; nothing was changed"]), *lines]
