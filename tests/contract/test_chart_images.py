"""Each container is told the digest of its own image, so that what it records is true."""

from __future__ import annotations

import pytest

from tests.support.chart import HOSPITAL, of_kind, pods, render, template


@pytest.mark.parametrize(("gpus", "trainer"), [(0, "trainer"), (1, "trainer-gpu")])
def test_what_teaches_and_what_promotes_are_told_their_own_image(gpus, trainer):
    names = ("worker", "trainer", "trainer-gpu")
    digests = {name: f"sha256:{digit * 64}" for name, digit in zip(names, "abc", strict=True)}
    values = {f"images__digests__{name}": value for name, value in digests.items()}
    found = render(HOSPITAL, tuning__gpus=gpus, **values)
    told = {
        (pod.component, container["name"]): (variable["value"], container["image"].partition("@")[2])
        for pod in pods(found)
        for container in pod.containers
        for variable in container.get("env", ())
        if variable["name"] == "ORGANLOOP_IMAGE_DIGEST"
    }
    assert told == {
        ("worker", "worker"): (digests["worker"], digests["worker"]),
        ("tuning-job", "prefect-job"): (digests[trainer], digests[trainer]),
    }
    maps = of_kind(found, "ConfigMap").values()
    assert not [one for one in maps if "ORGANLOOP_IMAGE_DIGEST" in one["data"]], "one for all is no one's"
    assert "ORGANLOOP_IMAGE_DIGEST" not in template(HOSPITAL).stdout, "by tag nobody knows it"
