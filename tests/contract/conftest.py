"""Databases for the contracts of the records: SQLite, and a real PostgreSQL, also as its writer alone."""

from __future__ import annotations

import pytest
from sqlalchemy.engine import make_url

from services.records.roles import Roles, bring_up
from tests.support.postgresql import new_database

KINDS = ("sqlite", "postgresql")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have a test run on each kind of database; a file that says `AS_WRITER`, as PostgreSQL's writer too."""
    if "url" in metafunc.fixturenames:
        kinds = (*KINDS, "writer") if getattr(metafunc.module, "AS_WRITER", False) else KINDS
        metafunc.parametrize("url", kinds, indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path) -> str:
    """The address of an empty database; as the writer, of one that its owner has brought up."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}"
    owner = new_database(request.getfixturevalue("postgresql"), f"test_{abs(hash(request.node.name))}")
    if request.param == "postgresql":
        return owner
    writer = make_url(owner).set(username="organloop_writer").render_as_string(hide_password=False)
    bring_up(owner, Roles(writer))
    return writer
