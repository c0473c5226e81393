"""The verbs about one study: `check`, `segment`, `phantom`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from deploy.cli.console import EXIT_REFUSED, Json, Outcome, answer, progress, table
from models.errors import InvalidRelease, StorageFailed
from services.settings import Settings

if TYPE_CHECKING:
    from flows.segmentation.document import Segmented
    from models.inference.memory import StudyMemory

MakeIdentifiers = Annotated[
    bool,
    typer.Option(
        "--make-identifiers",
        help="Of a folder: take lost SOP UIDs from the file meta information and make the other UIDs that "
        "are missing; what is written says so.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the verbs to the command."""
    for verb in (check, segment, phantom):
        app.command()(verb)


def check(
    path: Annotated[Path, typer.Argument(help="Folder with DICOM files, searched at any depth.")],
    make_identifiers: MakeIdentifiers = False,
    as_json: Json = False,
) -> None:
    """Give the geometry verdict of every series: fit, repaired or refused, with measured millimetres.

    Where a release serves, a series that takes more memory than there is to segment it is refused too.
    """

    def verb() -> Outcome:
        from services.dicom.ct.check import check_folder

        memory = _memory_here()
        require = None if memory is None else memory.require
        series = check_folder(path, makes_identifiers=make_identifiers, require=require)
        refused = any(one["verdict"] == "refused" for one in series)
        return Outcome(series, [_verdict_lines(one) for one in series], EXIT_REFUSED if refused else 0)

    answer(verb, as_json)


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

    Results of a study of the archive are stored there, once however often it is repeated; while the site is
    silent they are kept in the home, under unsent, and nothing is sent.
    """

    def verb() -> Outcome:
        from flows.segmentation.segment import segment as run
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
        said = (*said_below(document), *_viewer_lines(settings, document))
        return Outcome(document, (_organ_table(document), *said))

    answer(verb, as_json)


def phantom(
    out: Annotated[Path, typer.Option(help="Folder for one sub-folder per case.")],
    cases: Annotated[int, typer.Option(min=1, help="Number of cases.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first case; each further one adds 1.")] = 0,
    site: Annotated[Literal["A", "B"], typer.Option(help="Synthetic site.")] = "A",
    as_json: Json = False,
) -> None:
    """Write synthetic CT series as DICOM, each with its exact truth."""

    def verb() -> Outcome:
        from models.phantom.case import make_case
        from services.dicom.ct.phantom_series import write_phantom_series, write_truth

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


def _viewer_lines(settings: Settings, document: Segmented) -> list[str]:
    """Return the address that opens what was stored in the archive, where the local viewer runs."""
    from deploy.stack.up_and_down import viewer
    from deploy.stack.viewer import study_path

    url = viewer(settings).url
    if url is None or document.first_look is None:
        return []
    return [f"open {url}{study_path(document.study_uid, document.first_look)}"]


def _memory_here() -> StudyMemory | None:
    """Return what a study may take that is segmented here; None, and it is said, where nobody knows."""
    from flows.segmentation.memory import memory_here

    why = "no release serves here"
    try:
        memory = memory_here(Settings())
    except (StorageFailed, InvalidRelease) as error:
        memory, why = None, str(error)
    if memory is None:
        progress(f"whether there is memory enough to segment it is not judged: {why}")
    return memory


def _verdict_lines(one: dict[str, Any]) -> str:
    lines = [f"{one['verdict']:9} {one['code'] or '':18} series {one['series_uid'] or 'without a UID'}"]
    if one["shape"]:
        voxels = " x ".join(map(str, one["shape"]))
        spacing = " x ".join(f"{mm:.3g}" for mm in one["spacing_mm"])
        lines.append(f"{voxels} voxels of {spacing} mm (slice, row, column)")
    lines += [text for text in (one["detail"], *one["notes"]) if text]
    return "\n          ".join(lines)


def said_below(document: Segmented) -> list[str]:
    """Return what stands under the table of organs: where the objects are, and what is true of the whole."""
    said = [one.place for one in document.objects]
    if document.conflicts:
        pairs = (f"{one} and {other} {voxels}" for one, other, voxels in document.conflicts)
        said.append(f"voxels that two organs claim: {', '.join(pairs)}")
    if document.weights is not None:
        said.append(f"weights: {document.weights.licence}; origin: {document.weights.origin}")
    if document.silent:
        said.append("the site is silent: these were kept, and nothing was sent (`organloop speak`)")
    return said


def _organ_table(document: Segmented) -> Table:
    from models.findings import Flag
    from services.dicom.results.wording import floored

    rows = [
        (
            one.organ,
            one.presence,
            f"{one.volume_ml:.0f}",
            one.flag,
            None if one.dsc_lower_bound is None else f"{floored(one.dsc_lower_bound):.2f}",
            ", ".join(one.reasons),
        )
        for one in sorted(document.organs, key=lambda one: one.flag == Flag.NOT_JUDGED)  # these last
    ]
    sides = {"organ": "left", "presence": "left", "ml": "right", "flag": "left", "DSC at least": "right"}
    return table(sides | {"reasons": "left"}, rows)
