"""The page on input names every code, all nineteen groups of cases, and only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from models.series.verdict import Code

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "services" / "dicom" / "INPUT.md").read_text()


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    text = PAGE.split(f"\n## {section}", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_every_code_is_in_the_page_in_its_order() -> None:
    assert [row[0].strip("`") for row in rows("Codes")] == [str(code) for code in Code]


def test_all_nineteen_groups_of_cases_are_in_the_page() -> None:
    assert [int(row[0].split()[0]) for row in rows("Cases")] == list(range(1, 20))


def test_every_line_names_a_test_and_every_test_named_exists() -> None:
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    for row in rows("Codes") + rows("Cases"):
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert named, row[0]
        assert [name for name in named if name not in defined] == [], row[0]
