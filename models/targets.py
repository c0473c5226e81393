"""How exact an organ must be, and how much of it a candidate may lose: what somebody has established.

The catalogue says it for networks of our own kind. For one that was made elsewhere nobody has: there only the
file counts in which a site says what it has established, who did and from what. What nobody has established
is None, and nothing that would rest on it is claimed.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date
from hashlib import sha256
from pathlib import Path

from models.contract import ModelContract
from models.organs import KEYS, agreement_of
from models.organs import organ as catalogue_entry

KEYS_OF_AN_ORGAN = ("dsc_target", "gate_margin", "by", "on", "from", "cases", "interval")
"""What the file may say of an organ; one of the first two, and all of the others, it must say."""

MOST_MARGIN = 0.1
"""Mean DSC beyond which a loss is none that anybody may let pass."""

LONGEST = 200
"""Characters of what the file says in words."""


@dataclass(frozen=True)
class Required:
    """What is established of one organ of one release.

    Parameters
    ----------
    dsc_target
        DSC below which a reader should look, over 0 and under 1; None: not established.
    gate_margin
        Mean DSC that a candidate may lose and still count as not worse; None: not established.
    """

    dsc_target: float | None
    gate_margin: float | None


@dataclass(frozen=True)
class Established:
    """What a site's file says of one organ.

    Parameters
    ----------
    dsc_target, gate_margin
        As of `Required`; None: the file does not say it.
    by, on, source
        Who established it, when (ISO 8601) and from what.
    cases
        How many cases it rests on.
    interval
        Lower and upper DSC of the interval that these cases give.
    """

    dsc_target: float | None
    gate_margin: float | None
    by: str
    on: str
    source: str
    cases: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class Targets:
    """What one site has established, by organ; empty without a file.

    Parameters
    ----------
    organs
        By organ key.
    """

    organs: Mapping[str, Established] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of what the file says; its comments and its order say nothing."""
        said = {organ: asdict(one) for organ, one in self.organs.items()}
        return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def digest_for(self, contract: ModelContract) -> str | None:
        """Return the digest that a result or a decision names; None where the catalogue alone decides."""
        return self.digest if self.organs or contract.is_foreign else None

    def required(self, organ: str, contract: ModelContract) -> Required:
        """Return what is established of an organ of a release.

        Parameters
        ----------
        organ
            Its key.
        contract
            Of the release: what the catalogue says counts for networks of our own kind only.
        """
        target = margin = None
        if not contract.is_foreign and organ in KEYS:
            entry = catalogue_entry(organ)
            target, margin = entry.dsc_target, entry.gate_margin
        own = self.organs.get(organ)
        if own is None:
            return Required(target, margin)
        return Required(
            target if own.dsc_target is None else own.dsc_target,
            margin if own.gate_margin is None else own.gate_margin,
        )

    def agreement(self, organ: str) -> float:
        """Return the DSC from which two readers count as agreed on an organ.

        It is about readers, whichever network they corrected: the catalogue's target counts where the site
        has none. Without either only the same voxels do.
        """
        own = self.organs.get(organ)
        return agreement_of(organ) if own is None or own.dsc_target is None else own.dsc_target

    def dsc_targets(self, contract: ModelContract) -> dict[str, float | None]:
        """Return the target of every organ of a contract."""
        return {organ: self.required(organ, contract).dsc_target for organ in contract.organs}

    @classmethod
    def read(cls, path: Path, known: Collection[str] = KEYS) -> Targets:
        """Read a site's file.

        Parameters
        ----------
        path
            A TOML file with a table ``[organs.<key>]`` an organ.
        known
            Keys of organs it may speak of.

        Raises
        ------
        ValueError
            If it is not TOML, or says what cannot be; with the file and the line or key.
        OSError
            If it cannot be read.
        """
        try:
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:  # neither UTF-8 nor TOML; the latter names the line
            raise ValueError(f"{path}: {error}") from error
        organs = document.pop("organs", {})
        if document:
            raise ValueError(
                f"{path}: unknown keys {', '.join(sorted(document))}; all stands in [organs.<key>]"
            )
        if not isinstance(organs, dict):
            raise ValueError(f"{path}: organs must be tables, [organs.<key>]")
        found = {}
        for key, said in organs.items():
            if key not in known:
                raise ValueError(
                    f"{path}: organs.{key}: there is no such organ; there are {', '.join(known)}"
                )
            if not isinstance(said, dict):
                raise ValueError(f"{path}: organs.{key}: it must be a table, [organs.{key}]")
            try:
                found[key] = _established(said)
            except ValueError as error:
                raise ValueError(f"{path}: organs.{key}{error}") from None
        return cls(found)


FROM_THE_CATALOGUE = Targets()
"""Where a site has no file."""


def _established(said: Mapping[str, object]) -> Established:
    """Return what a table says; a ValueError goes on from the name of the table."""
    unknown = sorted(set(said) - set(KEYS_OF_AN_ORGAN))
    if unknown:
        raise ValueError(f".{unknown[0]}: there is no such key; there are {', '.join(KEYS_OF_AN_ORGAN)}")
    missing = [key for key in KEYS_OF_AN_ORGAN[2:] if key not in said]
    if missing:
        raise ValueError(f".{missing[0]}: it is missing; say who established it, when and from what")
    target = _number(said, "dsc_target", 1.0)
    margin = _number(said, "gate_margin", MOST_MARGIN)
    if target is None and margin is None:
        raise ValueError(": it says neither dsc_target nor gate_margin")
    on, cases = said["on"], said["cases"]
    if type(on) is not date:
        raise ValueError(f".on: it must be a date, as 2026-11-30 without quotes, not {on!r}")
    if type(cases) is not int or cases < 1:
        raise ValueError(f".cases: it must be a number of cases, at least 1, not {cases!r}")
    return Established(
        target, margin, _words(said, "by"), on.isoformat(), _words(said, "from"), cases, _interval(said)
    )


def _number(said: Mapping[str, object], key: str, most: float) -> float | None:
    value = said.get(key)
    if value is None:
        return None
    if not _is_number(value) or not 0 < float(value) < most:  # type: ignore[arg-type]
        raise ValueError(f".{key}: it must be over 0 and under {most:g}, not {value!r}")
    return float(value)  # type: ignore[arg-type]


def _interval(said: Mapping[str, object]) -> tuple[float, float]:
    value = said["interval"]
    if not isinstance(value, list) or len(value) != 2 or not all(map(_is_number, value)):
        raise ValueError(f".interval: it must be two numbers, as [0.90, 0.94], not {value!r}")
    low, high = map(float, value)
    if not 0 <= low <= high <= 1:
        raise ValueError(f".interval: it must lie in 0..1, the lower end first, not {value!r}")
    return low, high


def _words(said: Mapping[str, object], key: str) -> str:
    value = said[key]
    if not isinstance(value, str) or not value.strip() or len(value) > LONGEST or not value.isprintable():
        raise ValueError(f".{key}: it must be words, one line of at most {LONGEST} characters, not {value!r}")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
