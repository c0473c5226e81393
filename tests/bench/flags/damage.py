"""Studies that no release here has learnt: metal, a truncated body, another contrast phase."""

from __future__ import annotations

from models.phantom import PhantomCase

DAMAGES: tuple[str, ...] = ()


def damaged(kind: str, seed: int) -> PhantomCase:
    """Make one."""
    raise ValueError(f"no damage {kind!r}; there are {', '.join(DAMAGES)}")
