"""How large a study is, is asked before it is fetched; and counted while it comes, whatever was said."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import Refused
from services.pacs.allowance import MIB, StudyLimits
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from services.settings import Settings
from services.wiring import archive_of
from tests.support.archive import Archive
from tests.support.ct_files import written
from tests.support.instances import ct_study
from tests.support.scripted_archive import archive as scripted


def port(archive: Archive, kind: str, limits: StudyLimits) -> DicomwebArchive:
    web = archive.http("/dicom-web")
    if kind == "dicomweb":
        return DicomwebArchive(web, limits)
    return OrthancArchive(archive.http(), web, limits)


@pytest.mark.parametrize("kind", ["dicomweb", "orthanc"])
def test_a_study_of_more_objects_than_the_limit_is_refused_before_any_is_fetched(
    clean_archive: Archive, tmp_path: Path, kind: str
) -> None:
    objects = ct_study(4)
    clean_archive.put(*(one.content for one in objects))
    study_uid = objects[0].study_uid
    with pytest.raises(Refused) as refused:
        port(clean_archive, kind, StudyLimits(objects=3)).fetch_study(study_uid, tmp_path / "into")
    assert refused.value.code == "too-large"
    assert (refused.value.measured["objects"], refused.value.measured["limit_objects"]) == (4, 3)
    assert not (tmp_path / "into").exists()
    folder = port(clean_archive, kind, StudyLimits(objects=4)).fetch_study(study_uid, tmp_path / "into")
    assert len(list(folder.iterdir())) == 4


def test_an_orthanc_says_how_many_bytes_a_study_has(clean_archive: Archive, tmp_path: Path) -> None:
    paths = written(tmp_path / "ct")
    clean_archive.put(tmp_path / "ct")
    [study] = clean_archive.instances("Study")
    size = sum(path.stat().st_size for path in paths)
    pacs = port(clean_archive, "orthanc", StudyLimits(mebibytes=0))
    with pytest.raises(Refused) as refused:
        pacs.fetch_study(study["StudyInstanceUID"], tmp_path / "into")
    assert refused.value.measured["mebibytes"] == -(-size // MIB)
    assert not (tmp_path / "into").exists()


def test_what_comes_is_counted_whatever_was_said_and_nothing_is_left(tmp_path: Path) -> None:
    with scripted(bytes(3 * MIB)) as url, pytest.raises(Refused) as refused:
        DicomwebArchive(Http(url), StudyLimits(mebibytes=2)).fetch_study("1.2.3", tmp_path)
    assert refused.value.code == "too-large"
    assert list(tmp_path.iterdir()) == []


def test_a_count_that_is_no_count_says_nothing(tmp_path: Path) -> None:
    with scripted(b"", counted=10**40) as url, pytest.raises(Exception, match="counts"):
        DicomwebArchive(Http(url), StudyLimits(objects=2)).fetch_study("1.2.3", tmp_path)


def test_the_limits_are_settings(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, dicomweb_url="http://127.0.0.1:9", study_limit_objects=7, study_limit_mib=8
    )
    archive = archive_of(settings)
    assert archive is not None
    assert archive.limits == StudyLimits(7, 8)
