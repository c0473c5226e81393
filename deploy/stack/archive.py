"""The local stack's archive: Debian's Orthanc with DICOMweb, its studies under the home."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess, NotInstalled
from deploy.stack.local_server import LocalServer, answer_of
from services.files import replace

TEMPLATE = Path(__file__).parent / "orthanc" / "archive.json"
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AET = "ORGANLOOP"
STABLE_SECONDS = 10
"""How long a study must have been quiet to count as arrived."""


@dataclass(frozen=True)
class Modality:
    """Somebody the archive speaks DIMSE with.

    Parameters
    ----------
    aet
        Application entity title.
    host, port
        Where it is reached; from other addresses the title is refused.
    """

    aet: str
    host: str = "127.0.0.1"
    port: int = 104


SENDERS = {title.lower(): Modality(title) for title in ("STORESCU", "ECHOSCU", "FINDSCU", "MOVESCU")}
"""DCMTK's tools on this machine."""


@dataclass(frozen=True)
class ArchiveProcess(LocalProcess):
    """A running archive, as noted in its state file.

    Parameters
    ----------
    http_port, dicom_port
        On 127.0.0.1.
    """

    http_port: int
    dicom_port: int

    @property
    def url(self) -> str:
        """Orthanc's REST address."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        """The DICOMweb address."""
        return f"{self.url}/dicom-web"


class ArchiveServer(LocalServer[ArchiveProcess]):
    """The archive of one Organloop home.

    Parameters
    ----------
    home
        Folder for its studies, configuration, log and state file.
    http_port, dicom_port
        Wanted ports; None, or a port in use, takes a free one.
    stable_seconds
        How long a study must have been quiet to count as arrived.
    aet
        Its application entity title.
    modalities
        Who may send, echo, query and be queried, by Orthanc's name for it.
    """

    name = "Orthanc"
    kind = ArchiveProcess

    def __init__(
        self,
        home: Path,
        http_port: int | None = None,
        dicom_port: int | None = None,
        *,
        stable_seconds: int = STABLE_SECONDS,
        aet: str = AET,
        modalities: Mapping[str, Modality] = SENDERS,
    ) -> None:
        super().__init__(home)
        self._ports = (http_port, dicom_port)
        self._stable_seconds = stable_seconds
        self.aet = aet
        self._modalities = modalities

    @property
    def dicomweb_url(self) -> str | None:
        """The DICOMweb address; None while it does not answer."""
        url = self.url
        return f"{url}/dicom-web" if url else None

    @property
    def dicom_port(self) -> int | None:
        """The DIMSE port on 127.0.0.1; None while it does not run."""
        process = self.process
        return process.dicom_port if process else None

    def start(self) -> ArchiveProcess:
        """Start the archive, or find it running.

        Raises
        ------
        NotInstalled
            If Orthanc or its DICOMweb plugin is not on this machine; the message says what to install.
        StartFailed
            If it ended or did not answer in time; the message ends with its log.
        StorageFailed
            If the home is not writable.
        """
        running = self.process
        if running is not None and self._answers(running):
            return running
        program = installed()
        self.stop()  # one that lives but does not answer
        web, dimse = (local_process.free_port(port or 0) for port in self._ports)
        configuration = self._configure(web, dimse)
        env = os.environ | {"TCP_NODELAY": "1"}  # DCMTK's: else each image waits 40 ms for an acknowledgement
        return self._await(self._launch([program, str(configuration)], env, web, dimse))

    def _answers(self, process: ArchiveProcess) -> bool:
        return answer_of(f"{process.url}/system") is not None

    def _configure(self, web: int, dimse: int) -> Path:
        """Write the folder that Orthanc reads its configuration from."""
        folder = self._home / "configuration"
        folder.mkdir(parents=True, exist_ok=True)
        place = {
            "StorageDirectory": str(self._home / "studies"),
            "IndexDirectory": str(self._home / "studies"),
            "DicomAet": self.aet,
            "HttpPort": web,
            "DicomPort": dimse,
            "StableAge": self._stable_seconds,
            "Plugins": [str(DICOMWEB_PLUGIN)],
            "DicomModalities": {
                name: {"AET": one.aet, "Host": one.host, "Port": one.port}
                for name, one in self._modalities.items()
            },
        }
        replace(folder / TEMPLATE.name, TEMPLATE.read_bytes())
        replace(folder / "place.json", json.dumps(place, indent=2).encode())
        return folder


def installed() -> str:
    """Return the path of Orthanc.

    Raises
    ------
    NotInstalled
        If it or its DICOMweb plugin is not on this machine.
    """
    program = shutil.which("Orthanc", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        raise NotInstalled("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    if not DICOMWEB_PLUGIN.exists():
        raise NotInstalled("Orthanc has no DICOMweb here: apt-get install orthanc-dicomweb")
    return program
