"""The verb `import-checkpoint`: a public checkpoint, or a network of nnU-Net, becomes a candidate release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.cli.acting import acting
from deploy.cli.console import Json, Outcome, answer, progress
from models.errors import Refused
from models.people import Role
from services.settings import Settings

if TYPE_CHECKING:
    from flows.training.import_checkpoint import Imported
    from flows.training.import_nnunet import ImportedNnunet
    from services.records.port import Records
    from services.releases.store import ReleaseStore


STEP = 0.5
"""Share of a window to the next one, as nnU-Net has it."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("import-checkpoint")(import_checkpoint)


def import_checkpoint(
    file: Annotated[
        Path,
        typer.Argument(
            help="Checkpoint of torch.save, or a results folder of nnU-Net v2; nothing in it is run.",
            exists=True,
        ),
    ],
    organs: Annotated[
        str | None,
        typer.Option(
            help="Keys of the file's classes in its order, separated by commas; - leaves a class out, not of "
            "a SegResNet. Default: the 32 of the published ones; of nnU-Net those whose names are known here."
        ),
    ] = None,
    axes: Annotated[
        str | None,
        typer.Option(
            help="Of nnU-Net, whose files do not say it: where x, y and z of the images lead that it was "
            "trained on, as RAS."
        ),
    ] = None,
    reference: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Of nnU-Net: a CT, and the labels that your own program gave of it; NIfTI. Without, the "
            "release is for demonstration only."
        ),
    ] = None,
    made_by: Annotated[
        str, typer.Option(help="How those labels were made: program, version, device, folds, mirroring.")
    ] = "",
    licence: Annotated[str, typer.Option(help="Of the weights of nnU-Net.")] = "",
    origin: Annotated[str, typer.Option(help="Where the weights of nnU-Net come from.")] = "",
    fold: Annotated[str | None, typer.Option(help="Of nnU-Net, where there are several: 0 or all.")] = None,
    step: Annotated[
        float,
        typer.Option(help="Of nnU-Net: share of a window to the next one; TotalSegmentator's total has 0.8."),
    ] = STEP,
    mirroring: Annotated[
        bool, typer.Option(help="Of nnU-Net: mirror windows if it was trained so; up to 8 times the time.")
    ] = True,
    totalsegmentator: Annotated[
        bool,
        typer.Option(help="Answer as TotalSegmentator does with it: its own grid; use --step 0.8 with it."),
    ] = False,
    yields: Annotated[
        bool,
        typer.Option(
            "--yield",
            help="Of nnU-Net: an organ that is tuned later leaves voxels that another had at import. "
            "Without, both have them, and they are counted.",
        ),
    ] = False,
    first: Annotated[
        bool,
        typer.Option(help="Let it serve: as the first release of a home where none serves. Needs a name."),
    ] = False,
    approver: Annotated[str, typer.Option(help="Who lets it serve.")] = "",
    reason: Annotated[str, typer.Option(help="Why.")] = "",
    as_json: Json = False,
) -> None:
    """Take a public checkpoint apart into trunk and private heads, and publish it as a candidate.

    Text-driven U-Net and Swin UNETR, or MONAI's SegResNet; RAS, 1.5 mm voxels, -175 to 250 HU, windows of
    96 voxels. Or a network of nnU-Net v2, as its plans say, proven against your own labels. It is
    uncalibrated, and serves nobody unless it is let to. Exit 3 if the file is not what it should be, if its
    labels are not those of the reference, or a release serves already.
    """

    def verb() -> Outcome:
        from flows.training.import_checkpoint import keep_checkpoint, make_first, require_first
        from flows.training.import_nnunet import ImportedNnunet
        from models.network.checkpoints.nnunet.archive import is_of_nnunet
        from services.wiring import connect_in_process

        keys = [key.strip() for key in organs.split(",")] if organs else None
        settings = Settings()
        services, name = connect_in_process(settings), approver
        if first:  # before the work, which takes minutes
            act = acting(approver, Role.APPROVER, settings)
            services, name = act.connected(connect_in_process), act.name
            require_first(services.records, name, reason)
        document: Imported | ImportedNnunet
        if axes is not None or file.is_dir() or is_of_nnunet(file):
            document = nnunet(services.releases, services.records, services.settings, keys)
        else:
            require_none_of_nnunet()
            document = keep_checkpoint(
                file, services.releases, services.records, services.settings.threads, keys, progress
            )
        if first:
            make_first(document.release, services.releases, services.records, name, reason)
            document = replace(document, state="promoted")
        worst = max(one.max_logit_difference for one in document.parity.values())
        lines = [
            f"{document.state}: release {document.release}, {document.kind}, {len(document.organs)} classes",
            f"the engine's logits differ from torch's by at most {worst:.1e}",
            *(_said_of_nnunet(document) if isinstance(document, ImportedNnunet) else [document.said]),
        ]
        return Outcome(document, lines)

    def require_none_of_nnunet() -> None:
        given = {
            "--reference": reference is not None,
            "--made-by": bool(made_by),
            "--licence": bool(licence),
            "--origin": bool(origin),
            "--fold": fold is not None,
            "--step": step != STEP,
            "--no-mirroring": not mirroring,
            "--totalsegmentator": totalsegmentator,
            "--yield": yields,
        }
        if options := [name for name, is_given in given.items() if is_given]:
            detail = f"{', '.join(options)}: of nnU-Net only, and {file.name} is no checkpoint of it"
            raise Refused("not-nnunet", f"{detail}; leave them out", {"options": options})

    def nnunet(
        store: ReleaseStore, records: Records, settings: Settings, keys: list[str] | None
    ) -> ImportedNnunet:
        from flows.training.import_nnunet import Reference, keep_nnunet
        from models.network.checkpoints.nnunet.release import Asked
        from services.dicom.dictionary import NO_FILE, read_organ_file

        table = settings.organs

        if axes is None:
            raise Refused("unknown-axes", "say with --axes how the files lie that it was trained on", {})
        return keep_nnunet(
            file,
            store,
            records,
            settings.threads,
            Asked(
                axes,
                step,
                mirroring,
                "totalsegmentator" if totalsegmentator else "none",
                "yield" if yields else "overlap",
            ),
            licence=licence,
            origin=origin,
            organs=keys,
            organ_file=NO_FILE if table is None else read_organ_file(table),
            fold=fold,
            reference=Reference(*reference, made_by) if reference else None,
            progress=progress,
        )

    answer(verb, as_json)


def _said_of_nnunet(document: ImportedNnunet) -> list[str]:
    """Return what whoever lets it serve must know."""
    lines = [f"licence: {document.licence}; origin: {document.origin}"]
    if document.left_out:
        lines.append(f"not shown, but in competition: {', '.join(document.left_out)}")
    if document.unverified:
        codes = ", ".join(document.unverified)
        lines.append(f"codes that DICOM's dictionaries do not hold, unverified: {codes}")
    if document.proven is None:
        return [*lines, "not proven against any reference: the release is for demonstration only"]
    agreement = document.proven.agreement
    if agreement.identical:
        lines.append(f"identical: not one of {agreement.voxels} voxels differs from the reference")
    else:
        worst = min(one.dsc for one in agreement.classes.values() if one.dsc is not None)
        off = f"{agreement.differing} of {agreement.voxels} voxels differ from the reference"
        lines.append(f"{off}; least DSC {worst:.4f}")
    if agreement.unproven:
        lines.append(f"unproven, the reference has too little of them: {', '.join(agreement.unproven)}")
    return lines
