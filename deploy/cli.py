"""The command ``organloop``: one verb per thing a person or a job does.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused on the data.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError
from rich.table import Table

from deploy import (
    arrival_verbs,
    audit_verbs,
    backup_verbs,
    case_verbs,
    cluster_verbs,
    correction_verbs,
    doctor_verb,
    flag_verbs,
    import_verb,
    learning_verbs,
    logs,
    metrics_verb,
    release_verbs,
    train_verb,
)
from deploy.console import EXIT_FAILED, EXIT_REFUSED, EXIT_USAGE, Json, Outcome, answer, progress, table
from services.settings import Settings

if TYPE_CHECKING:
    from deploy.stack import Part

app = typer.Typer(
    name="organloop",
    help="CT studies in, organ segmentations out, heads that learn from corrections.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


MakeIdentifiers = Annotated[
    bool,
    typer.Option(
        "--make-identifiers",
        help="Of a folder: take lost SOP UIDs from the file meta information and make the other UIDs that "
        "are missing; what is written says so.",
    ),
]


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Folder with DICOM files, searched at any depth.")],
    make_identifiers: MakeIdentifiers = False,
    as_json: Json = False,
) -> None:
    """Give the geometry verdict of every series: fit, repaired or refused, with measured millimetres."""

    def verb() -> Outcome:
        from services.dicom.check import check_folder

        series = check_folder(path, makes_identifiers=make_identifiers)
        refused = any(one["verdict"] == "refused" for one in series)
        return Outcome(series, [_verdict_lines(one) for one in series], EXIT_REFUSED if refused else 0)

    answer(verb, as_json)


@app.command()
def segment(
    source: Annotated[
        str,
        typer.Argument(help="Folder with the DICOM files of one CT study, or a study UID in the archive."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the results, in place of the archive. Default: the archive for a study of the "
            "archive; for a folder one of its own, results/<study UID>/… in the home."
        ),
    ] = None,
    release: Annotated[
        int | None, typer.Option(min=1, help="Release that must answer. Default: the incumbent.")
    ] = None,
    make_identifiers: MakeIdentifiers = False,
    as_json: Json = False,
) -> None:
    """Segment a CT study: organ SEG, review SEG and SR, each proven by reading it back.

    Results of a study of the archive are stored there, once however often it is repeated.
    """

    def verb() -> Outcome:
        from flows.segment_study import segment as run
        from services.wiring import connect

        settings = Settings()
        study = run(
            source,
            out,
            connect(settings),
            release=release,
            makes_identifiers=make_identifiers,
            progress=progress,
        )
        document = study.document
        return Outcome(document, (_organ_table(document), *map(_place, document["objects"])))

    answer(verb, as_json)


@app.command()
def phantom(
    out: Annotated[Path, typer.Option(help="Folder for one sub-folder per case.")],
    cases: Annotated[int, typer.Option(min=1, help="Number of cases.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first case; each further one adds 1.")] = 0,
    site: Annotated[Literal["A", "B"], typer.Option(help="Synthetic site.")] = "A",
    as_json: Json = False,
) -> None:
    """Write synthetic CT series as DICOM, each with its exact truth."""

    def verb() -> Outcome:
        from models.phantom import make_case
        from services.dicom.phantom_series import write_phantom_series, write_truth

        written = []
        for number in range(seed, seed + cases):
            progress(f"phantom {site}-{number} ({number - seed + 1} of {cases})")
            case = make_case(site, number)
            folder = out / f"{site}-{number:04d}"
            images = write_phantom_series(case, folder / "ct")
            write_truth(case, folder / "truth.npz")
            written.append(
                {
                    "site": site,
                    "seed": number,
                    "ct": str(folder / "ct"),
                    "truth": str(folder / "truth.npz"),
                    "images": len(images),
                }
            )
        return Outcome(written, [f"{one['ct']}  {one['images']} images" for one in written])

    answer(verb, as_json)


@app.command()
def up(as_json: Json = False) -> None:
    """Start the local stack on 127.0.0.1: archive, viewer, Triton with the releases, Prefect, worker."""

    def verb() -> Outcome:
        from deploy import stack

        return _parts(stack.up(Settings(), progress))

    answer(verb, as_json)


@app.command()
def down(as_json: Json = False) -> None:
    """Stop the local stack; releases, records and logs stay."""

    def verb() -> Outcome:
        from deploy import stack

        stack.down(Settings(), progress)
        return _parts(stack.status(Settings()), wrong="up")

    answer(verb, as_json)


@app.command()
def status(as_json: Json = False) -> None:
    """Say what of the local stack runs where; exit 1 if a part does not run."""

    def verb() -> Outcome:
        from deploy import stack

        return _parts(stack.status(Settings()))

    answer(verb, as_json)


for verbs in (
    learning_verbs,
    correction_verbs,
    case_verbs,
    flag_verbs,
    release_verbs,
    doctor_verb,
    backup_verbs,
    metrics_verb,
    import_verb,
    train_verb,
    audit_verbs,
    arrival_verbs,
    cluster_verbs,
):
    verbs.register(app)


def main() -> None:
    """Run the command."""
    try:
        logs.set_up(Settings().log_format)
    except ValidationError as error:
        sys.stderr.write(f"a setting is wrong: {error}\n")
        sys.exit(EXIT_USAGE)
    except OSError as error:
        sys.stderr.write(f"a setting cannot be read: {error.filename}: {error.strerror}\n")
        sys.exit(EXIT_USAGE)
    app()


def _verdict_lines(one: dict[str, Any]) -> str:
    lines = [f"{one['verdict']:9} {one['code'] or '':18} series {one['series_uid'] or 'without a UID'}"]
    if one["shape"]:
        voxels = " x ".join(map(str, one["shape"]))
        spacing = " x ".join(f"{mm:.3g}" for mm in one["spacing_mm"])
        lines.append(f"{voxels} voxels of {spacing} mm (slice, row, column)")
    lines += [text for text in (one["detail"], *one["notes"]) if text]
    return "\n          ".join(lines)


def _place(item: dict[str, Any]) -> str:
    """Return where an object is: its file, or its UID in the archive."""
    return str(item.get("path") or f"{item['kind']:10} {item['uid']} in the archive")


def _organ_table(document: dict[str, Any]) -> Table:
    rows = [
        (
            one["organ"],
            one["presence"],
            f"{one['volume_ml']:.0f}",
            one["flag"],
            None if one["dsc_lower_bound"] is None else f"{one['dsc_lower_bound']:.2f}",
            ", ".join(one["reasons"]),
        )
        for one in document["organs"]
    ]
    sides = {"organ": "left", "presence": "left", "ml": "right", "flag": "left", "DSC at least": "right"}
    return table(sides | {"reasons": "left"}, rows)


def _parts(parts: tuple[Part, ...], wrong: str = "down") -> Outcome:
    """Return what runs where; a part in the wrong state is a failure."""
    rows = [(part.name, part.state, part.address, part.detail) for part in parts]
    document = [
        {
            "part": part.name,
            "running": part.state == "up",
            "state": str(part.state),
            "address": part.address,
            "detail": part.detail,
        }
        for part in parts
    ]
    failed = any(part.state == wrong for part in parts)
    shown = table(dict.fromkeys(("part", "state", "address", "detail"), "left"), rows)
    return Outcome(document, (shown,), EXIT_FAILED if failed else 0)
