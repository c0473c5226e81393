"""Write the table of values into organloop/README.md, from values.schema.json and values.yaml."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parent / "organloop"
BEGIN, END = "<!-- values: written by helm/values_table.py -->", "<!-- end of values -->"


def rows(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield path, default and meaning of every value, in the order of values.yaml."""
    for name, value in values.items():
        one, where = schema["properties"][name], f"{path}{name}"
        if (
            isinstance(value, dict)
            and value
            and set(value) <= set(one.get("properties", {}))
            and not leaf(one)
        ):
            yield from rows(one, value, f"{where}.")
        else:
            yield where, json.dumps(value), one["description"]


def leaf(schema: dict[str, Any]) -> bool:
    """Tell whether an object is one value: requests and limits, labels, a table of names."""
    return "requests" in schema.get("properties", {}) or schema.get("additionalProperties") is not False


def table() -> str:
    """Return the table as Markdown."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    lines = ["| value | default | what it is |", "|---|---|---|"]
    for path, default, meaning in rows(schema, values):
        lines.append(f"| `{path}` | `{default}` | {meaning} |")
    return "\n".join(lines)


def page_with(table_text: str, page: str) -> str:
    """Return a page with its table replaced."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{table_text}\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Write the page; with ``--check``, only tell whether it is current."""
    path = CHART / "README.md"
    page = path.read_text()
    wanted = page_with(table(), page)
    if "--check" in sys.argv[1:]:
        return int(page != wanted)
    path.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
