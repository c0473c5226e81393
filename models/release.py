"""A release: an immutable set of one trunk, one head per organ, contract and calibration."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from models.calibration import Calibration
from models.contract import ModelContract
from models.errors import InvalidRelease, Refused

NONE_SERVES = (
    "no release is the incumbent yet: `organloop releases first FILE --serve silently`, with a name and a "
    "reason, lets one serve"
)
"""What is said where nothing can be served, and the command that ends it."""


def sha256_hex(content: bytes) -> str:
    """Return the hexadecimal SHA-256 by which trunks, heads and releases are named."""
    return hashlib.sha256(content).hexdigest()


def require_no_recipe(contract: ModelContract, act: str) -> None:
    """Refuse an act that nobody can do with a network that has a recipe.

    Raises
    ------
    Refused
        `recipe`, with the act.
    """
    if contract.recipe is not None:
        detail = f"a network that nnU-Net planned cannot be {act}; it can serve, and its heads can be tuned"
        raise Refused("recipe", detail, {"act": act})


@dataclass(frozen=True)
class Release:
    """One numbered release.

    Parameters
    ----------
    number
        1, 2, 3, …; also the version Triton serves it under.
    parent
        The release it was tuned from; None for the first.
    trunk
        SHA-256 of the trunk's safetensors file.
    heads
        SHA-256 of each organ's head, by organ key, exactly the contract's organs.
    contract
        What the model expects and returns.
    calibration
        None until calibrated: then no bound is claimed and every organ is for review.
    corrections
        Identifiers of the corrections it learnt from.
    demonstration
        True for weights that are not for clinical use.
    note
        One line on where it comes from.
    """

    number: int
    parent: int | None
    trunk: str
    heads: Mapping[str, str]
    contract: ModelContract
    calibration: Calibration | None = None
    corrections: tuple[str, ...] = ()
    demonstration: bool = True
    note: str = ""

    def __post_init__(self) -> None:
        if self.number < 1:
            raise InvalidRelease(f"release numbers start at 1, not {self.number}")
        if set(self.heads) != set(self.contract.organs):
            raise InvalidRelease("a release has exactly one head per organ of its contract")

    @property
    def digest(self) -> str:
        """SHA-256 over everything the release pins."""
        return sha256_hex(self.to_bytes())

    @property
    def running_heads(self) -> tuple[str, ...]:
        """Organs whose heads run, in the contract's order.

        Of a network with a recipe those that were tuned: for the others its trunk answers.
        """
        recipe = self.contract.recipe
        imported = {} if recipe is None else recipe.imported
        return tuple(o for o in self.contract.organs if self.heads[o] != imported.get(o))

    def to_bytes(self) -> bytes:
        """Return the bytes of ``release.json``: sorted keys, so equal releases are equal bytes."""
        document = {
            "number": self.number,
            "parent": self.parent,
            "trunk": self.trunk,
            "heads": dict(self.heads),
            "contract": self.contract.to_json(),
            "calibration": self.calibration.to_json() if self.calibration else None,
            "corrections": list(self.corrections),
            "demonstration": self.demonstration,
            "note": self.note,
        }
        return (json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Release:
        """Read ``release.json``.

        Raises
        ------
        InvalidRelease
            If it is not a release this version understands.
        """
        try:
            data = json.loads(content)
            calibration = data.pop("calibration")
            names = [data["trunk"], *data["heads"], *data["heads"].values()]
            if not all(re.fullmatch(r"\w+", name, re.ASCII) for name in names):
                raise ValueError("organs and digests name files, and hold letters, digits and _ only")
            return cls(
                contract=ModelContract.from_json(data.pop("contract")),
                calibration=Calibration.from_json(calibration) if calibration else None,
                corrections=tuple(data.pop("corrections")),
                **data,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidRelease(f"release.json cannot be read: {error}") from error
