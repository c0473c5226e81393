"""How long the worklist takes with ten thousand studies that wait, beside a hundred."""

from __future__ import annotations

import re
import shutil
import statistics
import time
from pathlib import Path

from starlette.testclient import TestClient

from deploy.pages.application import application
from models.people import Person
from services.records.store import open_records
from services.settings import Settings
from tests.conftest import ROOT
from tests.support.listed import WEBER, listed, put_on_list, said

HERE = "http://127.0.0.1:8500"
FEW, MANY, ROUNDS = 100, 10_000, 20
ORGANS = tuple(said(one) for one in ("spleen", "liver", "aorta", "right_kidney", "left_kidney", "pancreas"))
ADDRESSES = {
    "first rows": "/worklist",
    "of the organ of one study": "/worklist?organ=gallbladder",
    "a study": f"/studies/{1:016x}",
}


class AsIs:
    def person(self, request: object) -> Person:
        return WEBER


def milliseconds(browser: TestClient, address: str) -> float:
    """Return the median time of an answer."""
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        answer = browser.get(address, headers={"accept": "text/html"})
        taken.append(1000 * (time.perf_counter() - begin))
        assert answer.status_code == 200
    return statistics.median(taken)


def test_the_worklist_does_not_grow_slower_with_its_length(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    shutil.copytree(ROOT / "models" / "starter", settings.release_store)
    records = open_records(settings.records_url)
    app = application(settings, HERE)
    app.state.way = AsIs()
    flagged = said("stomach", "review", "fragmented")
    rare = said("gallbladder", "review", "not-adjacent")
    found: dict[int, dict[str, float]] = {}
    with TestClient(app, base_url=HERE) as browser:
        for number in range(1, MANY + 1):
            organs = (*ORGANS, flagged, rare) if number == FEW // 2 else (*ORGANS, flagged)
            put_on_list(records, listed(number, doubt_ml=number % 37.0), organs)
            if number in (FEW, MANY):
                found[number] = {name: milliseconds(browser, one) for name, one in ADDRESSES.items()}
        rows = browser.get("/worklist", headers={"accept": "text/html"}).text
    assert len(re.findall(r'<tr id="', rows)) == 50
    for name in ADDRESSES:
        print(f"\n{name}: {found[FEW][name]:.0f} ms of {FEW}, {found[MANY][name]:.0f} ms of {MANY}", end="")
    assert found[MANY]["first rows"] < 300
