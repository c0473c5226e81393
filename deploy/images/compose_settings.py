"""``deploy/.env.example``: every variable that Compose takes, from the same texts as the table of settings.

``python -m deploy.images.compose_settings`` writes it. What is not in it is Compose's own to say (`FIXED`),
or secret, and then a file that ``make-secrets`` makes.
"""

from __future__ import annotations

import re
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

from services.settings import Settings
from services.wiring import repository_root

FILES = ("compose.yaml", "compose.own-archive.yaml", "compose.syslog.yaml", "compose.gpu.yaml")
EXAMPLE = ".env.example"
COLUMNS = 110
PREFIX = "ORGANLOOP_"

TEXTS = tomllib.loads((Path(__file__).parent / "compose.toml").read_text())
OWN: dict[str, str] = TEXTS["own"]
"""What Compose alone has, or says in its own way, and what it is for."""
FIXED: dict[str, str] = TEXTS["fixed"]
"""Settings that are not a site's to say here, and why."""

SECRET = {
    "triton_serving_key", "triton_release_key", "archive_password", "archive_reader_password",
    "database_url", "database_owner_url", "database_reader_url", "database_backup_url",
    "oidc_client_secret", "tell",
}  # fmt: skip
"""Settings that are files of ``compose/secrets``."""
MADE = {"session_key"}
"""Secrets that are made in the home, for the pages alone."""

SECTIONS: dict[str, str] = TEXTS["sections"]
"""Titles of the example's parts, and the names that belong to each."""

HEAD = """\
# Every variable of deploy/compose.yaml, with what it is for and what holds where none is set. Copy it to
# deploy/.env and take the # away where yours differs. Nothing here is secret: passwords, keys, certificates
# are files in compose/secrets. Written by `python -m deploy.images.compose_settings`.
"""


def taken(folder: Path) -> dict[str, str]:
    """Return the variables that Compose's files take, with the defaults they name."""
    found: dict[str, str] = {"COMPOSE_FILE": FILES[0]}
    for name in FILES:
        for variable, default in re.findall(r"\$\{(\w+):?-([^}]*)\}", (folder / name).read_text()):
            found[variable] = found.get(variable) or default
    return found


def example(folder: Path) -> str:
    """Return the text of the example.

    Parameters
    ----------
    folder
        Where Compose's files lie.

    Raises
    ------
    ValueError
        If a variable is explained nowhere, or belongs to no section.
    """
    variables, parts = taken(folder), [HEAD]
    left = dict.fromkeys(sorted(variables, key=_place))
    for title, pattern in SECTIONS.items():
        names = [name for name in left if re.fullmatch(pattern, name)]
        parts.append(f"\n# ---- {title}\n")
        for name in names:
            del left[name]
            parts.extend(_entry(name, variables[name]))
    if left:
        raise ValueError(f"in no section: {', '.join(left)}")
    return "".join(parts)


def _place(name: str) -> int:
    order = [*OWN, *(PREFIX + field.upper() for field in Settings.model_fields)]
    if name not in order:
        raise ValueError(f"{name} is explained nowhere")
    return order.index(name)


def _entry(name: str, default: str) -> Iterator[str]:
    field = Settings.model_fields.get(name.removeprefix(PREFIX).lower())
    meaning = OWN.get(name) or (field.description if field else None) or ""
    value = default
    if field and not default and name not in OWN:
        value = _written(field.default)
    yield (
        "".join(f"\n# {line}" for line in textwrap.wrap(meaning, COLUMNS, break_on_hyphens=False))
        + f"\n#{name}={value}\n"
    )


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def main() -> int:
    """Write the example."""
    folder = repository_root() / "deploy"
    (folder / EXAMPLE).write_text(example(folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
