"""Empty databases for the contracts of the records: SQLite, and a real PostgreSQL."""

from __future__ import annotations

import pytest

from tests.support.postgresql import new_database


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'home' / 'records.sqlite'}"
    return new_database(request.getfixturevalue("postgresql"), f"test_{abs(hash(request.node.name))}")
