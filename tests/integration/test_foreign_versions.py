"""Who may write Triton's repository may have it run code: what no program of the home wrote is not loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from deploy.preparation import prepare
from flows.serving.serve import load, serve, write
from models.errors import InvalidRelease
from services.records.events.serving import VersionTakenOut
from services.wiring import Services
from tests.support.promotion import InProcessEndpoint, in_process_site
from tests.support.tiny_networks import publish_tiny

KEPT, NEXT, FOREIGN = 2, 3, 9


@pytest.fixture
def site(tmp_path: Path) -> tuple[Services, InProcessEndpoint]:
    """Release 1 serves, release 2 is kept."""
    services, endpoint = in_process_site(tmp_path / "home")
    write(publish_tiny(services.releases, KEPT, {"liver": 1, "spleen": 3}), services)
    endpoint.load()
    return services, endpoint


def put_foreign(services: Services) -> None:
    """Put a version there that is no release, and a file into one that is."""
    folder = services.repository.versions_folder
    shutil.copytree(folder / str(KEPT), folder / str(FOREIGN))
    (folder / str(KEPT) / "sitecustomize.py").write_text("import os")


def taken(services: Services) -> dict[int, set[str]]:
    events = services.records.all(VersionTakenOut)
    return {event.said.release: set(event.said.files) for event in events}


def test_what_no_program_has_written_is_taken_out_before_a_load_and_is_on_record(
    site: tuple[Services, InProcessEndpoint],
) -> None:
    services, endpoint = site
    put_foreign(services)
    told: list[str] = []
    serve(publish_tiny(services.releases, NEXT, {"liver": 1, "spleen": 4}), services, told.append)
    assert services.repository.versions() == (1, NEXT)
    assert endpoint.ready(NEXT)
    assert taken(services).keys() == {KEPT, FOREIGN}
    assert "sitecustomize.py" in taken(services)[KEPT]
    assert f"version {FOREIGN} in the model repository is not as it was written: it is taken out" in told
    serve(services.releases.release(KEPT), services)
    assert services.repository.versions() == (1, KEPT, NEXT), "a release is written anew when it is wanted"


@pytest.mark.parametrize("name", ["model.py", "sitecustomize.py", "__pycache__/model.cpython-311.pyc"])
def test_nothing_is_loaded_while_the_incumbent_is_not_as_it_was_written(
    site: tuple[Services, InProcessEndpoint], name: str
) -> None:
    services, endpoint = site
    changed = services.repository.versions_folder / "1" / name
    changed.write_bytes(b"import os")
    candidate = publish_tiny(services.releases, NEXT, {"liver": 1, "spleen": 4})
    write(candidate, services)
    with pytest.raises(InvalidRelease, match=r"version 1 .* is not as it was written, and nothing is loaded"):
        load(candidate, services)
    assert not endpoint.ready(NEXT)
    write(services.releases.release(1), services)
    load(candidate, services)
    assert endpoint.ready(NEXT)


def test_before_each_start_of_a_server_the_repository_is_as_it_was_written(
    site: tuple[Services, InProcessEndpoint],
) -> None:
    """Containers and `up` prepare first: a server that starts loads what is there."""
    services, _ = site
    put_foreign(services)
    (services.repository.versions_folder / "1" / "model.py").write_text("import os")
    prepare(services.settings, str, starter=False)
    assert services.repository.versions() == (1, KEPT)
    assert taken(services).keys() == {1, KEPT, FOREIGN}
    for number in (1, KEPT):
        files = services.repository.digests(number)
        assert "sitecustomize.py" not in files
    before = services.repository.digests(1)
    prepare(services.settings, str, starter=False)
    assert services.repository.digests(1) == before
    assert len(services.records.all(VersionTakenOut)) == 3, "nothing is taken out twice"


def test_what_another_process_has_just_written_stays_though_it_is_not_on_record_yet(
    site: tuple[Services, InProcessEndpoint],
) -> None:
    services, _ = site
    candidate = publish_tiny(services.releases, NEXT, {"liver": 1, "spleen": 4})
    folder = services.repository.write_version(candidate, services.releases)
    before = folder.stat().st_ino
    write(candidate, services)
    assert folder.stat().st_ino == before
    assert taken(services) == {}


def test_another_release_under_the_number_stays_and_is_told(site: tuple[Services, InProcessEndpoint]) -> None:
    """Of a second home on the same repository, or of one that was begun anew."""
    services, _ = site
    candidate = publish_tiny(services.releases, NEXT, {"liver": 1, "spleen": 4})
    folder = services.repository.versions_folder / str(NEXT)
    shutil.copytree(services.repository.versions_folder / str(KEPT), folder)
    held = services.repository.digests(NEXT)
    with pytest.raises(InvalidRelease, match=r"version 3 is there with another release\.json"):
        write(candidate, services)
    assert services.repository.digests(NEXT) == held
    assert taken(services) == {}
