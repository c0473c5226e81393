"""The learning flows on a real Prefect server: their deployments, a worker's run, a night's tuning."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import UUID, uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter
from prefect.deployments import run_deployment
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Cron
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending, Running
from prefect.utilities.importtools import import_object
from pydicom import dcmread

from deploy.runs.deployments import WORK_POOL, register
from deploy.runs.known_flows import ENTRYPOINTS
from deploy.runs.launcher import PrefectLauncher
from deploy.stack import up_and_down as stack
from deploy.stack.prefect import PrefectServer
from flows.corrections.flow import ingest_correction
from flows.launching import SEGMENT, RunState
from flows.nightly import flow as nightly
from flows.nightly.flow import nightly_tuning
from flows.promotion import flow as promotion
from flows.tuning import flow as tuning_job
from flows.tuning import tune as tune_heads
from models.errors import StorageFailed
from models.tuning.settings import Level, TuningSettings
from services.pictures.kept import StudyPictures
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import connect_in_process
from tests.corrections import LIVER_ADDED
from tests.support.drawn_organs import drawn
from tests.support.learning import open_site
from tests.support.neighbours import silence_prefect
from tests.support.returned_segs import put_on_record
from tests.support.tiny_networks import publish_tiny
from tests.support.waiting import until

OLDER, YOUNGER = "1" * 64, "2" * 64
"""Keys of results."""

NAMES = (
    "segment-study/organloop",
    "ingest-correction/organloop",
    "nightly-tuning/organloop",
    "tune-heads/organloop",
    "train-release/organloop",
    "calibrate-release/organloop",
)


@pytest.fixture(scope="module")
def api(tmp_path_factory, prefect_home):
    server = PrefectServer(prefect_home(tmp_path_factory.mktemp("prefect")), 4210)
    yield server.start()
    silence_prefect()
    server.stop()


def test_registering_twice_leaves_each_deployment_once_and_tuning_at_two(api, tmp_path):
    settings = Settings(home=tmp_path)
    with api.used(), get_client(sync_client=True) as client:
        assert register(settings, "Europe/Zurich") == register(settings, "Europe/Zurich") == NAMES
        found = {name: client.read_deployment_by_name(name) for name in NAMES}
        assert len(client.read_deployments()) == len(NAMES)
    assert {one.work_pool_name for one in found.values()} == {WORK_POOL}
    assert all(one.job_variables == {} for one in found.values())
    (schedule,) = found["nightly-tuning/organloop"].schedules
    assert (schedule.schedule.cron, schedule.schedule.timezone) == ("0 2 * * *", "Europe/Zurich")
    assert found["nightly-tuning/organloop"].global_concurrency_limit.limit == 1
    assert sum(bool(one.schedules) for one in found.values()) == 1


def test_the_schedule_of_an_earlier_version_ends_with_its_deployment(api, tmp_path):
    """It started a run each minute; registered by a site's earlier program, it would go on."""

    @flow(name="watch-arrivals")
    def earlier():
        pass

    deployment = RunnerDeployment.from_flow(earlier, "organloop", schedule=Cron("* * * * *"))
    with api.used(), get_client(sync_client=True) as client:
        register(Settings(home=tmp_path))
        former = deployment.apply(work_pool_name=WORK_POOL)
        until(
            lambda: runs_of(client, former, "SCHEDULED"), "the earlier schedule plans runs", pause_seconds=0.5
        )
        register(Settings(home=tmp_path))
        assert runs_of(client, former, "SCHEDULED") == []
        with pytest.raises(ObjectNotFound):
            client.read_deployment_by_name("watch-arrivals/organloop")


def runs_of(client, deployment_id, state):
    wanted = {"state": {"type": {"any_": [state]}}}
    found = client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(wanted))
    return [run for run in found if run.deployment_id == deployment_id]


def test_what_is_urgent_has_a_queue_before_the_others_and_learning_the_last(api, tmp_path):
    with api.used(), get_client(sync_client=True) as client:
        for _ in range(2):
            register(Settings(home=tmp_path))
        queues = client.read_work_queues(work_pool_name=WORK_POOL)
        found = {name: client.read_deployment_by_name(name).work_queue_name for name in NAMES}
    ordered = [queue.name for queue in sorted(queues, key=lambda queue: queue.priority)]
    assert ordered == ["watch", "stat", "default", "learning"]
    assert found == dict.fromkeys(NAMES, "default") | {
        "nightly-tuning/organloop": "watch",
        "tune-heads/organloop": "learning",
        "calibrate-release/organloop": "learning",
        "train-release/organloop": "learning",
    }


@pytest.fixture
def launcher(api, tmp_path):
    with api.used(), closing(PrefectLauncher(longest_seconds=60)) as opened:
        register(Settings(home=tmp_path))
        yield opened


def states_of(run, *states):
    with get_client(sync_client=True) as client:
        for state in states:
            client.set_flow_run_state(UUID(run), state, force=True)
        return client.read_flow_run(UUID(run))


def test_a_run_is_started_once_under_its_key_and_urgent_ones_in_their_queue(launcher):
    first = launcher.launch(SEGMENT, "1.2.3", "key", urgent=True)
    assert launcher.launch(SEGMENT, "1.2.3", "key", urgent=True) == first
    other = launcher.launch(SEGMENT, "1.2.3", "next key", urgent=False)
    assert other != first
    runs = [states_of(run) for run in (first, other)]
    assert [run.work_queue_name for run in runs] == ["stat", "default"]
    assert runs[0].parameters == {"source": "1.2.3"}


def test_what_became_of_a_run_is_told_and_one_that_died_in_silence_is_marked(launcher):
    run = launcher.launch(SEGMENT, "1.2.3", "another key", urgent=False)
    assert launcher.state(run) is RunState.GOING
    states_of(run, Pending(), Running())
    assert launcher.state(run) is RunState.GOING
    assert launcher.state(str(uuid4())) is RunState.LOST, "a Prefect server that was made anew"
    with closing(PrefectLauncher(longest_seconds=0)) as impatient:
        assert impatient.state(run) is RunState.LOST
    assert states_of(run).state.is_crashed()
    assert launcher.state(run) is RunState.LOST
    states_of(run, Completed())
    assert launcher.state(run) is RunState.DONE


def test_a_run_that_fails_by_itself_is_told_from_one_that_was_ended_or_took_too_long(launcher):
    ends = {
        "failed": (Failed(), RunState.FAILED),
        "late": (Failed(name="TimedOut"), RunState.LATE),
        "crashed": (Crashed(), RunState.LOST),
        "cancelled": (Cancelled(), RunState.LOST),
    }
    found = {}
    for key, (end, _) in ends.items():
        run = launcher.launch(SEGMENT, "1.2.3", key, urgent=False)
        states_of(run, Pending(), Running(), end)
        found[key] = launcher.state(run)
    assert found == {key: expected for key, (_, expected) in ends.items()}


def test_once_the_stack_is_up_every_flow_may_be_started(organloop):
    assert organloop.deployments == set(NAMES)


def test_the_worker_of_the_stack_watches_by_itself(organloop):
    """The stack has run for a while here; nobody has told it to look."""
    records = open_records(Settings(home=organloop.home).records_url)
    until(records.last_watch, "the worker watches", pause_seconds=0.5)
    (worker,) = [part for part in organloop("status").document if part["part"] == "worker"]
    assert worker["state"] == "up"
    assert "watched at" in worker["detail"]


def test_a_worker_runs_what_is_started_from_a_deployment(organloop, ohif):
    api = stack.prefect(Settings(home=organloop.home)).start()
    parameters = {
        "source": str(ohif / "saved-by-ohif.dcm"),
        "study": str(ohif / "ct"),
        "sent": str(ohif / "sent.dcm"),
    }
    with api.used(), get_client(sync_client=True) as client:
        run = run_deployment("ingest-correction/organloop", parameters=parameters, timeout=0)
        ended = until(lambda: ended_as(client, run.id), "the worker runs it", pause_seconds=0.2)
        assert ended.is_completed()
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        shown = {one.key: one.data for one in client.read_artifacts(artifact_filter=of_run) if one.key}
    assert shown.keys() == {"ledger", "correction", "corrections"}
    assert f'"added_voxels": {LIVER_ADDED}' in shown["ledger"]
    assert shown["correction"].startswith("data:image/png;base64,")


def ended_as(client, run):
    state = client.read_flow_run(run).state
    return state if state.is_final() else None


def test_a_saved_object_of_the_archive_is_enough_and_the_sums_are_shown(
    api, tmp_path, ohif, clean_archive, monkeypatch
):
    settings = Settings(home=tmp_path / "home", **clean_archive.named)
    publish_tiny(ReleaseStore(settings.release_store), 1, {"liver": 1, "spleen": 2})
    records = open_records(settings.records_url)
    records.set_incumbent(1, approver="IT", reason="first release")
    put_on_record(records, ohif / "sent.dcm", ohif / "ct")
    clean_archive.put(ohif / "ct", ohif / "sent.dcm", ohif / "saved-by-ohif.dcm")
    monkeypatch.setenv("ORGANLOOP_HOME", str(settings.home))
    for name, value in clean_archive.variables.items():
        monkeypatch.setenv(name, value)
    with api.used():
        saved = dcmread(ohif / "saved-by-ohif.dcm", stop_before_pixels=True)
        document = ingest_correction(saved.SOPInstanceUID)
        stranger = ingest_correction("2.25.1")
        with get_client(sync_client=True) as client:
            sums = [artifact for artifact in client.read_artifacts() if artifact.key == "corrections"]
    assert (document.status, document.kept, document.release) == ("correction", True, 1)
    assert (stranger.status, stranger.code) == ("stranger", "not-in-archive")
    assert '"organ": "liver", "edited": 1' in sums[0].data
    assert 'reader"' not in sums[0].data, "how many readers, not who"


def test_a_night_tunes_and_gates_once_and_a_quiet_night_is_no_error(api, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning_job, "tuning_settings", quick_settings)
    monkeypatch.setattr(nightly, "tuning_settings", quick_settings)
    monkeypatch.setattr(promotion, "connect", connect_in_process)
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path / "home"))
    site = open_site(tmp_path)
    with api.used():
        quiet = nightly_tuning()
        for seed in (1, 2, 3):
            site.correct(seed, "aorta")
        by_jobs = site.copy(tmp_path / "by-jobs")
        first, again = nightly_tuning(), nightly_tuning()
        with get_client(sync_client=True) as client:
            keys = {artifact.key for artifact in client.read_artifacts()}
    assert (quiet.tuning.release, quiet.gate) == (None, None)
    assert (first.tuning.release, first.tuning.organs) == (2, ("aorta",))
    assert first.gate.decision == "insufficient-evidence", "there is no gate set"
    assert again.tuning.digest == first.tuning.digest
    assert site.services.releases.numbers() == (1, 2)
    assert site.services.records.incumbent() == 1, "promotion is an act with a name"
    shown = {"tuning-data", "tuning-ladder", "tuning-curve", "tuning-cost", "gate-decision"}
    assert shown <= keys
    tuned = tuned_by_a_worker_that_dies_once(api, by_jobs)
    assert tuned.digest == first.tuning.digest


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Return pictures that a site keeps for a week: one result's are eight days old, another's six."""
    open_site(tmp_path).services.records.close()
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ORGANLOOP_KEEP_PICTURES_DAYS", "7")
    pictures, folder = StudyPictures(Settings().pictures_folder), Settings().pictures_folder / "patients"
    for days, result in ((8, OLDER), (6, YOUNGER)):
        pictures.keep("a" * 64, result, drawn())
        [kept] = folder.glob(f"*/{result}")
        os.utime(kept, (time.time() - days * 86400,) * 2)
    assert (len(pictures.of(OLDER)), len(pictures.of(YOUNGER))) == (2, 2)
    return pictures


@pytest.mark.parametrize("learns", [True, False])
def test_what_is_scheduled_every_night_forgets_pictures_past_their_time_whether_the_site_learns_or_not(
    api, pictures, learns
):
    with api.used(), get_client(sync_client=True) as client:
        register(Settings())
        client.pause_deployment(client.read_deployment_by_name("nightly-tuning/organloop").id)
        register(Settings(), learns=learns)
        scheduled = client.read_deployment_by_name("nightly-tuning/organloop")
        night = import_object(ENTRYPOINTS["nightly-tuning"])(**scheduled.parameters)
    assert (scheduled.paused, [one.active for one in scheduled.schedules]) == (False, [True])
    assert night.forgotten.pictures == 1
    assert (len(pictures.of(OLDER)), len(pictures.of(YOUNGER))) == (0, 2)
    assert (night.tuning is not None, night.gate) == (learns, None)


def test_pictures_go_in_a_night_in_which_all_else_fails(api, pictures):
    Settings().records_file.write_bytes(b"no database")
    with api.used(), pytest.raises(StorageFailed):
        nightly_tuning(on_pool=True)
    assert (len(pictures.of(OLDER)), len(pictures.of(YOUNGER))) == (0, 2)


def test_a_tuning_job_that_was_deleted_is_lost_and_one_without_an_end_is_told(api, tmp_path):
    with api.used(), get_client(sync_client=True) as client:
        register(Settings(home=tmp_path))
        job = client.create_flow_run_from_deployment(client.read_deployment_by_name(nightly.TUNE).id).id
        with pytest.raises(nightly.TuningLost, match="did not end within 20 h"):
            nightly._completed(job, time.monotonic(), look_seconds=0)
        client.delete_flow_run(job)
        assert not nightly._completed(job, time.monotonic(), look_seconds=0)


def quick_settings(level: str, _: Settings) -> TuningSettings:
    return TuningSettings(Level.HEAD, steps=4, batch_voxels=512, window_voxels=128)


def tuned_by_a_worker_that_dies_once(api, site) -> dict:
    """Let the night start its job; the first run of it is lost, the second one tunes."""
    with api.used():
        register(site.services.settings)

    def worker() -> None:
        with api.used():
            states_of(job_run(0), Running(), Crashed())
            second = job_run(1)
            tune_heads.tune(site.services, settings=quick_settings("auto", site.services.settings))
            states_of(second, Running(), Completed())

    with ThreadPoolExecutor() as pool, api.used():
        played = pool.submit(worker)
        document = nightly.tuned_on_pool("auto", site.services.settings, look_seconds=0.2)
        played.result()
    return document


def job_run(number: int) -> str:
    """Wait for so many runs of the job, and return the name of the last."""

    def runs():
        with get_client(sync_client=True) as client:
            wanted = client.read_deployment_by_name(nightly.TUNE).id
            found = [run for run in client.read_flow_runs() if run.deployment_id == wanted]
        return found if len(found) > number else []

    return str(max(until(runs, "the run is launched"), key=lambda run: run.created).id)
