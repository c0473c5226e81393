"""The job by which the first release serves: never by itself, and in a person's name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.main import get_command

from deploy.cli.main import app
from tests.support.chart import CHART, EXAMPLES, HOSPITAL, of_kind, pods, render


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_job_of_the_first_release_never_runs_by_itself_and_lets_nobody_serve_by_the_chart(example):
    """Who makes a job of it says in whose name; the worker's pod can put the file where it is read."""
    found = render(*EXAMPLES[example])
    one = of_kind(found, "CronJob")["organloop-first"]
    assert one["spec"]["suspend"] is True
    assert one["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0
    by_component = {pod.component: pod for pod in pods(found)}
    [job] = by_component["first-release"].spec["containers"]
    assert "/organloop-trainer" in job["image"], "it exports, which takes torch"
    assert job["command"] == ["organloop", "releases", "first"]
    file, *options = job["args"]
    assert options == ["--serve", "silently"], "openly, and by whom, is a person's word"
    for container in (job, by_component["worker"].spec["containers"][0]):
        [store] = [one for one in container["volumeMounts"] if one["name"] == "store"]
        assert file.startswith(f"{store['mountPath']}/incoming/")
        assert not store.get("readOnly")


def test_the_readme_s_job_is_one_that_the_command_takes(tmp_path: Path) -> None:
    """What the README adds to the job's arguments is what `organloop releases first` asks for."""
    text = (CHART / "README.md").read_text()
    [added] = re.findall(r"containers\[0\]\.args \+= (\[.+?\])'", text)
    words = json.loads(re.sub(r"\$(\w+)", r'"a word"', added))
    job = of_kind(render(HOSPITAL), "CronJob")["organloop-first"]["spec"]["jobTemplate"]["spec"]
    [container] = job["template"]["spec"]["containers"]
    assert container["args"][0] in text, "where the file is put is where it is read"
    (tmp_path / "release").write_bytes(b"")
    first = get_command(app).commands["releases"].commands["first"]
    asked = first.make_context("first", [str(tmp_path / "release"), *container["args"][1:], *words]).params
    assert (asked["serve"], asked["approver"], asked["reason"]) == ("silently", "a word", "a word")
