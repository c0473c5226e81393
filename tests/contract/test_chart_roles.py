"""Who works in the database as whom, on the manifests as Helm renders them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from tests.support.chart import ALL, HOSPITAL, Manifest, of_kind, pods, render


def databases_of(found: tuple[Manifest, ...]) -> dict[str, set[tuple[str, str]]]:
    """Return as which user, and with which key of the secret, each container works in the records."""
    settings = of_kind(found, "ConfigMap")["organloop-settings"]["data"]
    working: dict[str, set[tuple[str, str]]] = {}
    for pod in pods(found):
        for container in pod.containers:
            given = {one["name"]: one for one in container.get("env", ())}
            if "PGPASSWORD" not in given or container["name"] == "prefect":
                continue
            url = given.get("ORGANLOOP_DATABASE_URL", {}).get("value") or settings["ORGANLOOP_DATABASE_URL"]
            key = given["PGPASSWORD"]["valueFrom"]["secretKeyRef"]["key"]
            working.setdefault(container["name"], set()).add((str(make_url(url).username), key))
    return working


def test_each_works_in_the_records_as_a_role_of_its_own_and_only_who_prepares_is_the_owner():
    found = render(HOSPITAL)
    writer, reader, backup = (
        {(f"organloop_{role}", f"database-{role}-password")} for role in ("writer", "reader", "backup")
    )
    assert databases_of(found) == {
        "worker": writer, "pages": writer, "prefect-job": writer, "first": writer,
        "ready": reader, "metrics": reader, "backup": backup,
    }  # fmt: skip
    for pod in pods(found):
        for container in pod.containers:
            given = {one["name"]: one for one in container.get("env", ())}
            owner = given.get("ORGANLOOP_DATABASE_OWNER_URL")
            assert (owner is not None) == (container["name"] in ("prepare", "prepare-records"))
            if owner is not None:
                names = list(given)
                for kind in ("OWNER_", "READER_", "BACKUP_", ""):
                    password = f"{kind or 'WRITER_'}PASSWORD"
                    url = make_url(given[f"ORGANLOOP_DATABASE_{kind}URL"]["value"])
                    assert url.password == f"$({password})"
                    assert names.index(password) < names.index(f"ORGANLOOP_DATABASE_{kind}URL"), (
                        "else it stays"
                    )


def test_a_site_with_one_owner_starts_as_it_did():
    found = render(HOSPITAL, database__roles="false")
    users = set().union(*databases_of(found).values())
    assert users == {("organloop", "database-password")}
    assert not re.search("DATABASE_(OWNER|READER|WRITER)", json.dumps([pod.spec for pod in pods(found)]))


def test_the_trial_s_database_makes_prefect_a_role_and_a_database_of_its_own(
    postgresql: str, tmp_path: Path
) -> None:
    """The script that PostgreSQL's image runs at its first start, on a real server."""
    script = of_kind(render(ALL), "ConfigMap")["organloop-database"]["data"]["prefect.sh"]
    socket = make_url(postgresql % "postgres").query["host"]
    env = {
        "PATH": os.environ["PATH"],
        "PGHOST": str(socket),
        "POSTGRES_USER": "organloop",
        "PREFECT_PASSWORD": "wo'rd",
    }
    subprocess.run(["bash", "-euc", script], env=env, check=True, capture_output=True)
    engine = create_engine(postgresql % "prefect")
    with engine.connect() as connection:
        owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'prefect'"
        assert connection.execute(text(owner)).scalar_one() == "organloop_prefect"
        others = "SELECT has_database_privilege('organloop_prefect', 'prefect', 'CREATE')"
        assert connection.execute(text(others)).scalar_one() is True
    engine.dispose()
