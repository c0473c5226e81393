"""Where the pages ask Prefect: the local stack's, else the environment's, else nowhere."""

from __future__ import annotations

import json

import pytest

from services.addresses import PrefectAddress, prefect_address
from services.settings import Settings


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING"):
        monkeypatch.delenv(name, raising=False)


def test_prefect_is_that_of_the_stack_else_of_the_environment_else_unknown(tmp_path, monkeypatch) -> None:
    settings = Settings(home=tmp_path)
    assert prefect_address(settings) is None
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    assert prefect_address(settings) == PrefectAddress("http://prefect:4200/api", "")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "organloop:word")
    assert prefect_address(settings) == PrefectAddress("http://prefect:4200/api", "organloop:word")
    settings.prefect_home.mkdir()
    (settings.prefect_home / "password").write_text("own")
    settings.stack_file.write_text(json.dumps({"prefect_url": "http://127.0.0.1:4200/api"}))
    found = prefect_address(settings)
    assert found == PrefectAddress("http://127.0.0.1:4200/api", "organloop:own")
    assert "organloop:own" not in repr(found), "no log shows the password"
