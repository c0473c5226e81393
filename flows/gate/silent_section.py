"""What the gate's page says of results that were made while the site was silent."""

from __future__ import annotations

from models.gate.silent_results import SilentResults
from models.organs import name_of
from services.pictures.page import Page


def add_silent_results(page: Page, found: SilentResults | None) -> None:
    """Add what the site's labels say of the results that were made in silence; None: it spoke."""
    if found is None:
        return
    page.heading("Results made in silence, against the site's labels")
    page.sentence(
        f"The site was silent when this was decided. {found.studies} results, each as it is written in its "
        "SEG, were compared with independent truth on the CT's grid. It decides nothing here."
    )
    if found.organs:
        page.table(
            (
                "organ", "release", "studies", "median DSC", "worst DSC", "median HD95 mm", "missed",
                "hallucinated", "worst cases",
            ),
            [
                (
                    name_of(one.organ), one.release, one.studies, one.median_dsc, one.worst[0].dsc,
                    f"{one.median_hd95_mm:.1f}", one.missed, one.hallucinated,
                    ", ".join(f"{case.case[:12]} {case.dsc:.3f}" for case in one.worst),
                )
                for one in found.organs
            ],
        )  # fmt: skip
    if found.not_compared:
        page.table(
            ("case", "not compared", "why"),
            [(one.case[:12], one.code, one.detail) for one in found.not_compared],
        )
