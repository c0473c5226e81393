"""The pages for users name every setting, verb and direct dependency there is."""

from __future__ import annotations

import re
import tomllib

from deploy.cli.main import app
from services.settings import Settings
from tests.conftest import ROOT


def test_every_setting_is_in_the_page_for_it_with_its_meaning():
    page = (ROOT / "deploy" / "README.md").read_text()
    for name, field in Settings.model_fields.items():
        assert re.search(rf"`ORGANLOOP_{name.upper()}` \|.*\| {re.escape(field.description)} \|", page), name


def test_every_verb_is_in_a_page_or_the_readme():
    pages = [
        ROOT / "README.md",
        *(ROOT / room / "README.md" for room in ("deploy", "flows", "services/dicom")),
    ]
    text = "".join(page.read_text() for page in pages)
    verbs = {command.name or command.callback.__name__ for command in app.registered_commands}
    verbs |= {group.name for group in app.registered_groups}
    missing = {verb for verb in verbs if f"organloop {verb}" not in text}
    assert missing == set()


def test_every_direct_dependency_is_defended_in_its_page():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(d for group in project["optional-dependencies"].values() for d in group),
    ]
    page = (ROOT / "deploy" / "DEPENDENCIES.md").read_text()
    assert [name for name in wanted if f"`{name.split('[')[0]}`" not in page] == []
