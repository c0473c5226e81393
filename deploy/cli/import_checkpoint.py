"""The verb `import-checkpoint`: a public checkpoint becomes a candidate release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.console import Json, Outcome, answer, progress
from services.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the verb to the command."""
    app.command("import-checkpoint")(import_checkpoint)


def import_checkpoint(
    file: Annotated[
        Path,
        typer.Argument(help="Checkpoint of torch.save; nothing in it is run.", exists=True, dir_okay=False),
    ],
    organs: Annotated[
        str | None,
        typer.Option(
            help="Keys of the file's classes in its order, separated by commas; - leaves a class of a "
            "text-driven network out. Default: the 32 of the published ones; a SegResNet has none."
        ),
    ] = None,
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
    96 voxels. It is uncalibrated, and serves nobody unless it is let to. Exit 3 if the file is not what it
    should be, or a release serves already.
    """

    def verb() -> Outcome:
        from flows.training.import_checkpoint import keep_checkpoint, make_first, require_first
        from services.wiring import connect_in_process

        keys = [key.strip() for key in organs.split(",")] if organs else None
        services = connect_in_process(Settings())
        if first:  # before the work, which takes minutes
            require_first(services.records, approver, reason)
        document = keep_checkpoint(
            file, services.releases, services.records, services.settings.threads, keys, progress
        )
        if first:
            make_first(document.release, services.releases, services.records, approver, reason)
            document = replace(document, state="promoted")
        worst = max(one.max_logit_difference for one in document.parity.values())
        lines = [
            f"{document.state}: release {document.release}, {document.kind}, {len(document.organs)} classes",
            f"the engine's logits differ from torch's by at most {worst:.1e}",
            document.said,
        ]
        return Outcome(document, lines)

    answer(verb, as_json)
