"""What both releases found in the worst cases, kept while the gate asks: the page need not ask again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from models.gate.scores import OrganScore
from models.masks import BoxedMask
from services.releases.gate_reports import PICTURED

Masks = Mapping[str, BoxedMask]
"""By organ, on the grid of the case's volume."""


@dataclass
class Views:
    """Masks of the worst cases so far.

    Parameters
    ----------
    by_case
        By organ, case and release number.
    """

    by_case: dict[tuple[str, str, int], BoxedMask] = field(default_factory=dict)
    _worst: dict[str, list[tuple[float, str]]] = field(default_factory=dict)

    def offer(
        self,
        case: str,
        scores: tuple[Mapping[str, OrganScore], Mapping[str, OrganScore]],
        masks: Mapping[int, Masks],
    ) -> None:
        """Keep a case's masks as long as it is among an organ's worst.

        Parameters
        ----------
        case
            Its identifier.
        scores
            Of incumbent and candidate, by organ; where their bits are the same there is nothing to see. Of
            an organ the incumbent lacks, the lowest DSC is the worst.
        masks
            By release number.
        """
        before, after = scores
        for organ, score in after.items():
            had = before[organ].dsc if organ in before else 0.0
            same = organ in before and score.digest == before[organ].digest
            if same or score.dsc is None or had is None:
                continue
            worst = sorted([*self._worst.get(organ, ()), (score.dsc - had, case)])
            self._worst[organ] = worst[:PICTURED]
            for number, found in masks.items():
                if organ not in found:
                    continue
                self.by_case[organ, case, number] = found[organ]
            for _, other in worst[PICTURED:]:
                for number in masks:
                    self.by_case.pop((organ, other, number), None)

    def mask(self, organ: str, case: str, release: int) -> BoxedMask | None:
        """Return what a release found, None if it was not kept."""
        return self.by_case.get((organ, case, release))
