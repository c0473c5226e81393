"""The local stack's viewer: OHIF, mended in one place (`mend.mjs`), served by nginx beside the archive."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.doors.configuration import Door, SignIn, files, withheld
from deploy.pages.reading.viewer_path import viewer_path
from deploy.stack import local_process, nginx
from deploy.stack.local_process import LocalProcess, NotInstalled
from deploy.stack.local_server import LocalServer, answer_of
from models.release import sha256_hex
from models.uids import StudyUid
from services.pacs.accounts import Account

if TYPE_CHECKING:
    from flows.segmentation.first_look import FirstLook

FOLDER = Path(__file__).resolve().parents[1] / "viewer"
PAGES = FOLDER / "node_modules" / "@ohif" / "app" / "dist"


@dataclass(frozen=True)
class ViewerProcess(LocalProcess):
    """A running viewer, as noted in its state file.

    Parameters
    ----------
    port
        On 127.0.0.1.
    dicomweb_url
        The archive it shows.
    doors
        Digest of what it was told to open and to whom.
    """

    port: int
    dicomweb_url: str
    doors: str = ""

    @property
    def url(self) -> str:
        """Where its pages are; who is not signed in is sent to the sign-in."""
        return f"http://127.0.0.1:{self.port}"


def study_path(study_uid: StudyUid, look: FirstLook | None) -> str:
    """Return the address, on the viewer's origin, of a study with our SEG loaded for editing at an image.

    Parameters
    ----------
    study_uid
        Its StudyInstanceUID.
    look
        The SEG, the image to show and the segment to paint; None opens the study alone.
    """
    if look is None:
        return viewer_path(study_uid)
    return viewer_path(study_uid, look.seg_series_uid, look.segment, look.image_uid)


class ViewerServer(LocalServer[ViewerProcess]):
    """The viewer of one Organloop home; as a context manager it is started by `start`.

    Parameters
    ----------
    home
        Folder for its configuration, log and state file.
    port
        Wanted port; None, or one in use, takes a free one.
    address
        Where people open it, if not at that port of this machine.
    ca_file
        Certificates that the archive's TLS is checked against; None takes the system's.
    """

    name = "The viewer"
    kind = ViewerProcess

    def __init__(
        self, home: Path, port: int | None = None, *, address: str | None = None, ca_file: Path | None = None
    ) -> None:
        super().__init__(home)
        self._port = port
        self._address = address
        self._ca_file = ca_file or Path(ssl.get_default_verify_paths().openssl_cafile)

    def start(
        self, dicomweb_url: str, sign_in: SignIn, reader: Account | None = None, *, archive_asks: bool = True
    ) -> ViewerProcess:
        """Start the viewer on an archive, or find it running; one that shows another is started again.

        Parameters
        ----------
        dicomweb_url
            The archive.
        sign_in
            Who is asked whether somebody may look; without an answer nobody may.
        reader
            The archive's account of those who look, which no browser learns; None where there is none.
        archive_asks
            Without a reader: whether the archive asks for a password, which the browser then has to know.

        Raises
        ------
        NotInstalled
            If nginx or OHIF's pages are not on this machine; the message says what to install.
        StartFailed
            If it ended or did not answer in time; the message ends with its log.
        StorageFailed
            If the home is not writable.
        """
        authorization = nginx.given(reader) if reader else "" if archive_asks else withheld()
        running, doors = self.process, self._doors(sign_in, authorization)
        wanted = (dicomweb_url, doors)
        if running and (running.dicomweb_url, running.doors) == wanted and self._answers(running):
            return running
        installed()
        self.stop()
        port = local_process.free_port(self._port or 0)
        marks = {
            "ohif": PAGES,
            "configuration": FOLDER / "app-config.js",
            "dicomweb": dicomweb_url.rstrip("/"),
            "certificates": self._ca_file,
        }
        door = Door("viewer", f"127.0.0.1:{port}", self._address, authorization, marks)
        configuration = nginx.configure(self._home, door, sign_in)
        command = nginx.command(self._home, self.log, configuration)
        return self._await(self._launch(command, os.environ, port, dicomweb_url, doors))

    def _answers(self, process: ViewerProcess) -> bool:
        return b"/dicom-web" in (answer_of(f"{process.url}/app-config.js") or b"")

    def __enter__(self) -> ViewerServer:
        return self

    def _doors(self, sign_in: SignIn, authorization: str) -> str:
        """Return a digest of what is opened to whom."""
        said = f"{sign_in} {self._address} {authorization}".encode()
        return sha256_hex(b"\0".join((*files(), said)))


def installed() -> str:
    """Return the path of nginx.

    Raises
    ------
    NotInstalled
        If it or OHIF's pages are not on this machine.
    """
    program = nginx.program()
    if not (PAGES / "index.html").exists():
        raise NotInstalled("OHIF is not installed: make viewer (needs npm)")
    return program
