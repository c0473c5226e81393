"""The local stack's archive: Debian's Orthanc with DICOMweb, its studies under the home."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess, NotInstalled
from deploy.stack.local_server import LocalServer, answer_of
from deploy.stack.orthanc.modalities import Modality
from models.release import sha256_hex
from services.files import replace
from services.pacs.accounts import Accounts

TEMPLATE, DOORS = (Path(__file__).parent / "orthanc" / name for name in ("archive.json", "doors.lua"))
DICOMWEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
AET = "ORGANLOOP"
STABLE_SECONDS = 10
"""How long a study must have been quiet to count as arrived."""


SENDER = "sender"
"""Orthanc's name for who may send by the title of the archive's accounts."""


@dataclass(frozen=True)
class ArchiveProcess(LocalProcess):
    """A running archive, as noted in its state file.

    Parameters
    ----------
    http_port, dicom_port
        On 127.0.0.1.
    doors
        Digest of what it was told to open and to whom.
    """

    http_port: int
    dicom_port: int
    doors: str = ""

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
        Who may send and echo, who may query and be queried, by Orthanc's name for it; None is one sender of
        this machine, by the title of `accounts`.
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
        modalities: Mapping[str, Modality] | None = None,
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

    @property
    def accounts(self) -> Accounts:
        """Who may ask it by HTTP; made the first time."""
        return Accounts.made(self._home)

    def start(self) -> ArchiveProcess:
        """Start the archive, or find it running; one with other doors, of an earlier version, starts again.

        Raises
        ------
        NotInstalled
            If Orthanc or its DICOMweb plugin is not on this machine; the message says what to install.
        StartFailed
            If it ended or did not answer in time; the message ends with its log.
        StorageFailed
            If the home is not writable.
        """
        running, accounts = self.process, self.accounts
        doors = _doors(accounts)
        if running is not None and running.doors == doors and self._answers(running):
            return running
        program = installed()
        self.stop()  # one that lives but does not answer
        web, dimse = (local_process.free_port(port or 0) for port in self._ports)
        configuration = self._configure(web, dimse, accounts)
        env = os.environ | {"TCP_NODELAY": "1"}  # DCMTK's: else each image waits 40 ms for an acknowledgement
        command = [sys.executable, "-m", "deploy.stack.loopback", program, str(configuration)]
        return self._await(self._launch(command, env, web, dimse, doors))

    def _answers(self, process: ArchiveProcess) -> bool:
        return answer_of(f"{process.url}/system", account=self.accounts.worker) is not None

    def _configure(self, web: int, dimse: int, accounts: Accounts) -> Path:
        """Write the folder that Orthanc reads its configuration from."""
        folder = self._home / "configuration"
        folder.mkdir(parents=True, exist_ok=True)
        known = {SENDER: Modality(accounts.sender)} if self._modalities is None else self._modalities
        place = {
            "Name": "Organloop archive",
            # Orthanc cannot bind to one address: `loopback` leads it to 127.0.0.1, and it refuses by itself.
            "RemoteAccessAllowed": False,
            "DicomCheckModalityHost": True,
            "DicomCheckCalledAet": False,
            "StorageDirectory": str(self._home / "studies"),
            "IndexDirectory": str(self._home / "studies"),
            "DicomAet": self.aet,
            "HttpPort": web,
            "DicomPort": dimse,
            "StableAge": self._stable_seconds,
            "Plugins": [str(DICOMWEB_PLUGIN)],
            "LuaScripts": [str(folder / DOORS.name)],
            "RegisteredUsers": {one.user: one.password for one in (accounts.worker, accounts.reader)},
            "Organloop": {"Worker": accounts.worker.user, "Names": ["127.0.0.1", "localhost"]},
            "DicomModalities": {name: one.entry() for name, one in known.items()},
        }
        for file in (TEMPLATE, DOORS):
            replace(folder / file.name, file.read_bytes())
        replace(folder / "place.json", json.dumps(place, indent=2).encode(), 0o600)
        return folder


def _doors(accounts: Accounts) -> str:
    """Return a digest of what does not differ between starts: the files and the accounts."""
    secrets = f"{accounts.worker.password} {accounts.reader.password} {accounts.sender}".encode()
    return sha256_hex(b"\0".join((TEMPLATE.read_bytes(), DOORS.read_bytes(), secrets)))


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
