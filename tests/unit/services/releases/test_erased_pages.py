"""Pages of the gate that may show a patient who is taken out."""

from __future__ import annotations

from pathlib import Path

from services.releases.gate_reports import GateReports, pictured


def test_a_page_whose_report_cannot_be_read_may_show_anybody_and_goes(tmp_path: Path) -> None:
    gate = tmp_path / "releases" / "2" / "gate"
    gate.mkdir(parents=True)
    report, page = gate / "a.json", gate / "a.html"
    report.write_text("{}")
    page.write_text("<img>")
    assert pictured(report) is None
    assert GateReports(tmp_path).erase_pages([]) == 0
    assert GateReports(tmp_path).erase_pages(["a case"]) == 1
    assert (report.exists(), page.exists()) == (True, False)
