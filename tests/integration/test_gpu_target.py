"""The repository of a GPU server, served for real by Triton with stand-ins for the GPU's backends."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from flows.serving.proof import prove_served
from flows.serving.serve import load
from models.contract import HEAD_LOGIT, HEAD_SPREAD, SEGMENTER, TRUNK_FEATURES, TRUNK_GLOBAL, TRUNK_INPUT
from models.errors import InvalidRelease, ServingRejected, ServingUnavailable, StorageFailed
from models.release import Release, sha256_hex
from services.inference.engine import InProcessSegmenter
from services.inference.port import Segmenter
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.triton.client import TritonSegmenter
from services.triton.gpu_target import GpuTarget, part_names
from services.triton.repository import TritonRepository
from services.wiring import Services
from tests.support.gpu_server import DEVICE, GpuServer
from tests.support.log import lines
from tests.support.serving import MODEL, THREADS, thrown_away
from tests.support.tiny_networks import noisy_body, publish_tiny
from tests.support.waiting import GUARD_SECONDS, end_at_once

SEEDS = {"liver": 1, "spleen": 2}


def proven(release: Release, site: Services, server: Segmenter, progress: Callable[[str], None]) -> None:
    threads = site.settings.threads
    prove_served(release, server, site.repository, site.releases, threads, site.records, progress)


def target(folder: Path, backend: str = "onnxruntime") -> GpuTarget:
    return GpuTarget(backend, DEVICE, "fp32", folder / "engines")


def parsed(folder: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


@dataclass(frozen=True)
class Site:
    """A repository as it is generated, the same with stand-ins served, and one of the target `python`."""

    store: ReleaseStore
    repository: TritonRepository
    cpu: TritonRepository
    triton: TritonSegmenter
    server: GpuServer

    def add(self, number: int, **seeds: int) -> Release:
        release = publish_tiny(self.store, number, seeds)
        self.cpu.write_version(release, self.store)
        self.repository.write_version(release, self.store)
        self.server.mirror(self.repository.folder)
        return release


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("gpu")
    store = ReleaseStore(home / "store")
    repository = TritonRepository(home / "generated", MODEL, THREADS, target(home))
    cpu = TritonRepository(home / "cpu", MODEL, THREADS)
    server = GpuServer(home)
    with thrown_away(server) as process:
        client = TritonSegmenter(process.url, deadline_seconds=GUARD_SECONDS)
        site = Site(store, repository, cpu, client, server)
        site.add(1, **SEEDS)
        client.load()
        yield site
        client.close()


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    return ReleaseStore(tmp_path / "store")


def test_a_gpu_server_s_windows_give_what_the_engine_gives_in_this_process(site: Site) -> None:
    hu = noisy_body((24, 30, 28))
    in_process = InProcessSegmenter(site.cpu.versions_folder, THREADS)
    served, expected = site.triton.segment(hu, 1, sampled=True), in_process.segment(hu, 1, sampled=True)
    assert len(expected.window_origin) > 4
    assert served.release_digest == expected.release_digest
    assert np.array_equal(served.probability, expected.probability)
    assert np.array_equal(served.disagreement, expected.disagreement)
    assert np.array_equal(served.global_feature, expected.global_feature)
    assert served.member_disagreement.keys() == expected.member_disagreement.keys() == {0}
    assert np.array_equal(served.member_disagreement[0], expected.member_disagreement[0])
    assert served.samples is not None
    assert expected.samples is not None
    for field in dataclasses.fields(served.samples):
        one, other = getattr(served.samples, field.name), getattr(expected.samples, field.name)
        assert np.array_equal(np.asarray(one), np.asarray(other)), field.name
    assert site.triton.profile(1) == f"onnxruntime/{DEVICE}/fp32"


def test_a_new_release_brings_in_the_head_it_changed_and_nothing_else(site: Site) -> None:
    before = {f.name for f in site.repository.folder.iterdir()}
    trunk = next(site.repository.folder.glob("organ_trunk_*"))
    site.add(2, liver=1, spleen=3)
    new = sorted(f.name.rpartition("_")[0] for f in site.repository.folder.iterdir() if f.name not in before)
    assert new == ["organ_head", "organ_window"]
    site.triton.load()
    hu = noisy_body((24, 30, 28))
    one, two = site.triton.segment(hu, 1), site.triton.segment(hu, 2)
    assert np.array_equal(one.probability[0], two.probability[0])
    assert not np.array_equal(one.probability[1], two.probability[1])
    log = site.server.log.read_text()
    assert log.count(f"successfully loaded '{trunk.name}'") == 1
    assert log.count(f"successfully loaded '{SEGMENTER}'") == 2


def test_a_release_of_another_home_under_the_same_number_brings_its_own_networks(
    site: Site, tmp_path: Path
) -> None:
    site.add(6, liver=1, spleen=6)
    site.triton.load()
    site.repository.remove_version(6)
    site.server.mirror(site.repository.folder)
    theirs = ReleaseStore(tmp_path / "store")
    release = publish_tiny(theirs, 6, {"liver": 1, "spleen": 7})
    site.repository.write_version(release, theirs)
    site.server.mirror(site.repository.folder)
    site.triton.load()
    cpu = TritonRepository(tmp_path / "cpu", MODEL, THREADS)
    cpu.write_version(release, theirs)
    hu = noisy_body((24, 30, 28))
    served, expected = (
        one.segment(hu, 6) for one in (site.triton, InProcessSegmenter(cpu.versions_folder, 2))
    )
    assert served.release_digest == expected.release_digest == release.digest
    assert np.array_equal(served.probability, expected.probability)


def test_a_release_whose_head_cannot_be_loaded_leaves_the_incumbent_serving(site: Site) -> None:
    release = site.add(3, liver=1, spleen=4)
    head = site.repository.folder / part_names(release)[2]
    (site.server.served / head.name / "1" / "model.onnx").write_bytes(b"no network")
    with pytest.raises(ServingRejected, match="organ_window_3"):
        site.triton.load()
    assert not site.triton.ready(3)
    site.repository.remove_version(3)
    assert not head.exists()
    assert len(list(site.repository.folder.glob("organ_trunk_*"))) == 1
    site.server.mirror(site.repository.folder)
    site.triton.load()
    assert site.triton.segment(noisy_body(), 1).release_digest == site.store.release(1).digest


def test_what_a_gpu_server_answers_is_proven_once_before_it_counts(site: Site, tmp_path: Path) -> None:
    release = site.add(5, liver=1, spleen=8)
    site.triton.load()
    services: Any = SimpleNamespace(
        releases=site.store,
        repository=site.repository,
        records=open_records(f"sqlite:///{tmp_path / 'records.db'}"),
        settings=SimpleNamespace(threads=THREADS),
    )
    told: list[str] = []
    for _ in range(2):
        proven(release, services, site.triton, told.append)
    assert len(told) == 1
    (event,) = lines(services.records, "served-proven")
    assert event.payload["flipped"] == {"liver": 0, "spleen": 0}
    assert event.payload["profile"] == f"onnxruntime/{DEVICE}/fp32"
    with pytest.raises(InvalidRelease, match="release 99 is not in the model repository"):
        site.repository.networks_digest(99)
    cpu: Any = SimpleNamespace(**vars(services) | {"repository": site.cpu})
    proven(release, cpu, site.triton, told.append)  # nothing is asked: it runs what was proven
    assert len(told) == 1


def test_a_gpu_server_that_answers_with_another_network_is_found_out(site: Site, tmp_path: Path) -> None:
    release = site.add(8, liver=1, spleen=9)
    head = site.server.served / part_names(release)[2]
    elsewhere = ReleaseStore(tmp_path / "elsewhere")
    other = publish_tiny(elsewhere, 1, {"liver": 1, "spleen": 10})
    (head / "1" / "model.onnx").write_bytes(
        elsewhere.export(other.heads["spleen"])
    )  # as a faulty engine would
    site.triton.load()
    services: Any = SimpleNamespace(
        releases=site.store,
        repository=site.repository,
        records=open_records(f"sqlite:///{tmp_path / 'records.db'}"),
        settings=SimpleNamespace(threads=THREADS),
        endpoints=(site.triton,),
    )
    for _ in range(2):  # as each study does that is still to be segmented
        with pytest.raises(InvalidRelease, match=r"release 8 is not served as it was proven: .* spleen"):
            proven(release, services, site.triton, str)
    with pytest.raises(InvalidRelease, match=r"release 8 is not served as it was proven: .* spleen"):
        load(release, services)
    assert 8 not in site.repository.versions()
    assert lines(services.records, "served-proven") == ()
    (event,) = lines(services.records, "served-differs")
    assert "spleen" in event.payload["why"]
    assert event.payload["profile"] == site.triton.profile(8)
    site.server.mirror(site.repository.folder)
    site.triton.load()


def test_a_full_disk_leaves_the_part_that_another_program_was_to_replace(
    store: ReleaseStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = publish_tiny(store, 1, SEEDS)
    repository = TritonRepository(tmp_path / "repository", MODEL, THREADS, target(tmp_path))
    repository.write_version(release, store)
    trunk = repository.folder / part_names(release)[0]
    (trunk / "config.pbtxt").write_text("# an older program's\n")
    before = {f: f.read_bytes() for f in repository.folder.rglob("*") if f.is_file()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageFailed, match=f"repository/{trunk.name} cannot be written: No space left"):
            repository.write_version(release, store)
    assert {f: f.read_bytes() for f in repository.folder.rglob("*") if f.is_file()} == before
    repository.write_version(release, store)
    assert repository.differing(release, store) == ()


def test_a_server_started_anew_answers_with_every_release_it_calls_ready(site: Site) -> None:
    site.add(4, liver=5, spleen=2)
    head = part_names(site.store.release(4))[1]
    (site.server.served / head / "1" / "model.onnx").write_bytes(b"no network")
    end_at_once(site.server.process)
    with thrown_away(site.server) as process:
        client = TritonSegmenter(process.url, deadline_seconds=GUARD_SECONDS)
        assert [client.ready(number) for number in (1, 4)] == [True, False]
        assert client.segment(noisy_body(), 1).release_digest == site.store.release(1).digest
        with pytest.raises(ServingUnavailable, match="organ_window_4"):
            client.segment(noisy_body(), 4)
        client.close()


def test_configurations_are_what_triton_reads(store: ReleaseStore, tmp_path: Path) -> None:
    release = publish_tiny(store, 7, SEEDS)
    repository = TritonRepository(tmp_path / "repository", MODEL, THREADS, target(tmp_path))
    repository.write_version(release, store)
    trunk, liver, spleen, window = (parsed(repository.folder / name) for name in part_names(release))
    assert (trunk.backend, trunk.max_batch_size) == ("onnxruntime", 0)
    assert {o.name: list(o.dims) for o in trunk.output} == {
        TRUNK_FEATURES: [1, 4, 16, 16, 16],
        "coarse_1": [1, 6, 8, 8, 8],
        TRUNK_GLOBAL: [1, 6],
    }
    assert [(i.name, list(i.dims)) for i in trunk.input] == [(TRUNK_INPUT, [1, 1, 16, 16, 16])]
    assert trunk.parameters["cudnn_conv_algo_search"].string_value == "1"
    assert not trunk.HasField("dynamic_batching")
    assert [i.name for i in liver.input] == [TRUNK_FEATURES, "coarse_1"]
    assert [i.name for i in spleen.input] == [TRUNK_FEATURES]
    assert window.platform == "ensemble"
    assert [s.model_name for s in window.ensemble_scheduling.step] == [trunk.name, liver.name, spleen.name]
    assert [o.name for o in window.output] == [
        TRUNK_GLOBAL,
        f"{HEAD_LOGIT}_liver",
        f"{HEAD_LOGIT}_spleen",
        f"{HEAD_SPREAD}_liver",
    ]
    segmenter = parsed(repository.versions_folder)
    assert segmenter.parameters["device"].string_value == DEVICE
    assert segmenter.parameters["serving_profile"].string_value == f"onnxruntime/{DEVICE}/fp32"
    assert (repository.folder / trunk.name / "1" / "model.onnx").read_bytes() == store.export(release.trunk)
    assert repository.differing(release, store) == ()


def test_a_trunk_is_served_by_the_engine_of_this_gpu_or_not_at_all(
    store: ReleaseStore, tmp_path: Path
) -> None:
    release = publish_tiny(store, 1, SEEDS)
    repository = TritonRepository(tmp_path / "repository", MODEL, THREADS, target(tmp_path, "tensorrt"))
    engine = tmp_path / "engines" / release.trunk / f"{DEVICE}-fp32" / "model.plan"
    with pytest.raises(InvalidRelease, match=f"no fp32 engine for {DEVICE}: build it there"):
        repository.write_version(release, store)
    assert repository.versions() == ()
    engine.parent.mkdir(parents=True)
    engine.write_bytes(b"an engine")
    note = {"trunk": release.trunk, "device": DEVICE, "precision": "fp32", "plan": sha256_hex(b"an engine")}
    for onnx in (b"another export", store.export(release.trunk)):
        assert repository.versions() == ()
        engine.with_name("engine.json").write_text(json.dumps({**note, "onnx": sha256_hex(onnx)}))
        if onnx == b"another export":
            with pytest.raises(InvalidRelease, match="of another export"):
                repository.write_version(release, store)
    repository.write_version(release, store)
    trunk, head = (parsed(repository.folder / name) for name in part_names(release)[:2])
    assert (trunk.backend, trunk.default_model_filename) == ("tensorrt", "model.plan")
    assert "cudnn_conv_algo_search" not in trunk.parameters
    assert head.backend == "onnxruntime"
    assert (repository.folder / trunk.name / "1" / "model.plan").read_bytes() == b"an engine"


def test_writing_a_version_again_touches_no_file(store: ReleaseStore, tmp_path: Path) -> None:
    release = publish_tiny(store, 1, SEEDS)
    repository = TritonRepository(tmp_path / "repository", MODEL, THREADS, target(tmp_path))
    repository.write_version(release, store)
    before = {f: f.stat().st_mtime_ns for f in repository.folder.rglob("*")}
    repository.write_version(release, store)
    assert {f: f.stat().st_mtime_ns for f in repository.folder.rglob("*")} == before


def test_a_newer_program_leaves_trunk_and_heads_where_they_are(store: ReleaseStore, tmp_path: Path) -> None:
    release = publish_tiny(store, 1, SEEDS)
    program = tmp_path / "model.py"
    program.write_text("MEANING = 42\n")
    repository = TritonRepository(tmp_path / "repository", program, THREADS, target(tmp_path))
    repository.write_version(release, store)
    before = {f for f in repository.folder.rglob("*") if f.is_file()}
    program.write_text("MEANING = 43\n")
    folder = repository.write_version(release, store)
    assert (folder / "model.py").read_text() == "MEANING = 43\n"
    assert {f for f in repository.folder.rglob("*") if f.is_file()} == before
    assert repository.differing(release, store) == ()


def test_a_refused_release_changes_nothing_of_the_one_whose_number_it_bears(
    store: ReleaseStore, tmp_path: Path
) -> None:
    release = publish_tiny(store, 1, SEEDS)
    repository = TritonRepository(tmp_path / "repository", MODEL, THREADS, target(tmp_path))
    repository.write_version(release, store)
    before = {f: f.read_bytes() for f in repository.folder.rglob("*") if f.is_file()}
    theirs = ReleaseStore(tmp_path / "theirs")
    with pytest.raises(InvalidRelease, match="version 1 is there with another release"):
        repository.write_version(publish_tiny(theirs, 1, {"liver": 1, "spleen": 9}), theirs)
    assert {f: f.read_bytes() for f in repository.folder.rglob("*") if f.is_file()} == before
