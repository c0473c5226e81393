"""Every verb and server at a small site, in a sealed network: ``python -m tests.support.every_verb FOLDER``.

All modules are imported first, at a terminal. Then readers, model owners and IT do what there is to do, every
server of the stack is asked once, the worker runs a flow, and what only containers run works beside. What the
verbs ended with is written to ``ended.json``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import typer
from pydicom import dcmread
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.containers.forwarder_alive import ALIVE
from deploy.stack import archive as archive_server
from deploy.stack import up_and_down as stack
from deploy.stack.archive import SENDER
from deploy.stack.local_process import NotInstalled
from services.settings import Settings
from tests.support.learning import SEEDS, open_site
from tests.support.what_calls_out import ask_prefect, get, import_everything

Words = tuple[str, ...]
BY = ("--approver", "Dr A", "--reason", "to be heard")
REFUSED = ("promote", "rollback", "train", "calibrate", "import-checkpoint", "restore", "tell")
"""Three patients are too few to train, calibrate, promote; a SEG is no checkpoint, a folder no backup.

Where no address is named, nobody is told.
"""


def told(folder: Path) -> dict[str, tuple[object, ...]]:
    """Return the verbs in their order, and what each is told here; a function is asked when it is its turn.

    Parameters
    ----------
    folder
        Of the site, as `main` makes it.
    """
    ct, sent, saved = folder / "ct-1", folder / "result-1" / "organ-seg.dcm", folder / "saved-1.dcm"
    made = folder / "phantoms" / "B-0007"
    truth = ("--truth", made / "truth.npz", "--origin", "independent")
    return {
        "prepare": (),
        "up": (),
        "status": (),
        "account": ("--reset",),
        "tell": (),
        "register": (),
        "phantom": ("--out", folder / "phantoms", "--site", "B", "--seed", 7),
        "check": (made,),
        "segment": (partial(_tag, ct, "StudyInstanceUID") if _has_archive() else ct,),
        "arrivals": (),
        "silence": BY,
        "compared": (),
        "speak": BY,
        "ingest": (saved, "--study", ct, "--sent", sent),
        "corrections": (),
        "accept": (partial(_tag, ct, "StudyInstanceUID"), "--organs", "liver", "--reader", "Dr B"),
        "cases add": (made / "ct", "--purpose", "gate", *truth),
        "cases freeze": ("--purpose", "gate"),
        "cases list": (),
        "tonight": (),
        "tune": ("--level", "head"),
        "gate": (2,),
        "promote": (2, *BY),
        "rollback": BY,
        "decline": (2, *BY),
        "releases": (),
        "releases export": (1, folder / "release.tar", *BY[:2]),
        "releases import": (folder / "release.tar",),
        "releases first": (folder / "release.tar", "--serve", "silently", *BY),
        "train": ("--begin", "scratch", "--steps", 1),
        "calibrate": (),
        "bounds": (),
        "import-checkpoint": (saved,),
        "doctor": (),
        "metrics": ("--once",),
        "backup": ("--out", folder / "backups"),
        "restore": (folder / "backups",),
        "audit verify": (),
        "audit export": (folder / "log.jsonl",),
        "audit witness": (),
        "withdraw": (partial(_tag, saved, "SOPInstanceUID"), "--reader", "Dr A", "--reason", "to be heard"),
        "cases erase": (partial(_tag, ct, "PatientID"), *BY),
        "down": (),
    }


def verbs_of(app: typer.Typer) -> set[str]:
    """Return every verb of the command, those of a group as ``group verb``."""

    def walk(command: Any, path: Words) -> Iterator[str]:
        if not hasattr(command, "commands") or command.invoke_without_command:
            yield " ".join(path)
        for name, one in getattr(command, "commands", {}).items():
            yield from walk(one, (*path, name))

    return set(walk(typer.main.get_command(app), ()))


def main() -> None:
    """Do everything once."""
    folder = Path(sys.argv[1])
    import_everything()
    site = open_site(folder, spacing_mm=10.0)
    for seed in SEEDS:
        site.correct(seed, "stomach")
    settings = site.services.settings
    os.environ["ORGANLOOP_HOME"] = str(settings.home)
    os.environ["ORGANLOOP_WITNESS_FILE"] = str(folder / "witness.log")
    ended: dict[str, int] = {}
    for verb, words in told(folder).items():
        if verb == "down":
            _ask_every_server(settings)
            _run_in_worker(settings, folder)
            _ask_containers(settings, folder)
        said = [str(word() if callable(word) else word) for word in words]
        result = CliRunner().invoke(app, [*verb.split(), *said])
        print(f"{verb}: {result.exit_code}\n{result.output}")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        ended[verb] = result.exit_code
        if verb == "up":
            os.environ |= stack.prefect(settings).start().variables
            _store(settings, folder / "ct-1")
    (folder / "ended.json").write_text(json.dumps(ended))


def _has_archive() -> bool:
    try:
        return bool(archive_server.installed())
    except NotInstalled:
        return False


def _store(settings: Settings, ct: Path) -> None:
    """Send a study to the archive."""
    archive = stack.archive(settings).process
    for file in ct.iterdir() if archive else ():
        get(f"{archive.url}/instances", file.read_bytes(), signed_in=stack.archive(settings).accounts.worker)


def _ask_every_server(settings: Settings) -> None:
    """Ask each server for what browsers, Prometheus and probes do."""
    parts = {part.name: part.address for part in stack.status(settings)}
    if parts["archive"]:
        for page in ("/app/explorer.html", "/plugins", "/modalities", "/dicom-web/studies"):
            get(parts["archive"] + page, signed_in=stack.archive(settings).accounts.worker)
    if parts["viewer"]:
        for page in ("/", "/app-config.js", "/dicom-web/studies"):
            get(parts["viewer"] + page, signed_in=stack.archive(settings).accounts.reader)
    from tests.support.prefect_api import ask  # after ours: Prefect asks at its import whether it may tell

    access = stack.prefect(settings).start()
    ask_prefect(access)
    while ask(access, "work_pools/organloop/workers/filter") == []:
        time.sleep(0.2)  # the stack's worker is still starting


def _run_in_worker(settings: Settings, folder: Path) -> None:
    """Let the stack's worker segment a study, as one that has arrived."""
    from prefect.deployments import run_deployment  # after ours: it asks at its import whether it may tell

    told = {"source": str(folder / "ct-1"), "out": str(folder / "out")}
    with stack.prefect(settings).start().used():
        run = run_deployment("segment-study/organloop", parameters=told, poll_interval=1)
    if not run.state.is_completed():
        raise AssertionError(f"the worker's run: {run.state}")


def _ask_containers(settings: Settings, folder: Path) -> None:
    """Run what only containers run, beside the stack, until it has worked."""
    command = "from deploy.cli.main import main; main()"
    asked: dict[Words, Callable[[], object]] = {
        ("-m", "deploy.runs.pool_worker", "--queue", "default"): lambda: get("http://127.0.0.1:8080/health"),
        ("-c", command, "metrics"): lambda: get("http://127.0.0.1:9090/metrics"),
    }
    archive = stack.archive(settings).url
    if archive:
        ALIVE.unlink(missing_ok=True)
        gateway = (
            "-m",
            "deploy.containers.forwarder",
            "--to",
            SENDER,
            "--cursor",
            str(folder / "cursor.json"),
        )
        asked[gateway] = ALIVE.stat
    account = stack.archive(settings).accounts.worker
    named = {"ORTHANC_URL": archive, "ARCHIVE_USER": account.user, "ARCHIVE_PASSWORD": account.password}
    env = os.environ | ({f"ORGANLOOP_{name}": str(value) for name, value in named.items()} if archive else {})
    for words, answers in asked.items():
        with subprocess.Popen([sys.executable, *words], env=env) as process:
            _until(answers, process)
            process.terminate()


def _until(asked: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    """Return once a server answers."""
    while True:
        try:
            asked()
            return
        except OSError:
            if process.poll() is not None:
                raise
            time.sleep(0.2)


def _tag(place: Path, keyword: str) -> str:
    file = next(place.iterdir()) if place.is_dir() else place
    return str(dcmread(file, stop_before_pixels=True)[keyword].value)


if __name__ == "__main__":
    main()
