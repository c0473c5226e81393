"""The local stack's viewer: OHIF, mended in one place (`mend.mjs`), served by nginx beside the archive."""

from __future__ import annotations

import os
import shutil
import ssl
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess, NotInstalled
from deploy.stack.local_server import LocalServer, answer_of
from models.release import sha256_hex
from models.uids import StudyUid
from services.files import replace
from services.pacs.accounts import Account

if TYPE_CHECKING:
    from flows.segmentation.first_look import FirstLook

FOLDER = Path(__file__).resolve().parents[1] / "viewer"
CONFIGURATION = tuple(FOLDER / name for name in ("nginx.conf", "requests.conf", "archive.conf"))
PAGES = FOLDER / "node_modules" / "@ohif" / "app" / "dist"


class _NginxTemplate(Template):
    """A template whose marks are ``@name``: a dollar is nginx's own."""

    delimiter = "@"


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
        """Where its pages are; what they show, it asks a password for."""
        return f"http://127.0.0.1:{self.port}"

    def link(self, reader: Account | None) -> str:
        """Return the address that signs a reader in and shows the list of studies."""
        return f"http://{reader.user}:{reader.password}@127.0.0.1:{self.port}/open" if reader else self.url


def study_path(study_uid: StudyUid, look: FirstLook | None) -> str:
    """Return the address, on the viewer's origin, of a study with our SEG loaded for editing at an image.

    Parameters
    ----------
    study_uid
        Its StudyInstanceUID.
    look
        The SEG, the image to show and the segment to paint; None opens the study alone.

    Notes
    -----
    ``image`` and ``segment`` are ours (``deploy/viewer/app-config.js``). OHIF's editor asks for the series
    named in an address only under its default hanging protocol.
    """
    asked = {"StudyInstanceUIDs": str(study_uid)}
    if look is not None:
        asked |= {"initialSeriesInstanceUID": look.seg_series_uid, "hangingProtocolId": "default"}
        asked |= {"image": look.image_uid} if look.image_uid else {}
        asked |= {"segment": str(look.segment)}
    return f"/segmentation?{urlencode(asked)}"


class ViewerServer(LocalServer[ViewerProcess]):
    """The viewer of one Organloop home; as a context manager it is started by `start`.

    Parameters
    ----------
    home
        Folder for its configuration, log and state file.
    port
        Wanted port; None, or one in use, takes a free one.
    ca_file
        Certificates that the archive's TLS is checked against; None takes the system's.
    """

    name = "The viewer"
    kind = ViewerProcess

    def __init__(self, home: Path, port: int | None = None, *, ca_file: Path | None = None) -> None:
        super().__init__(home)
        self._port = port
        self._ca_file = ca_file or Path(ssl.get_default_verify_paths().openssl_cafile)

    def start(
        self, dicomweb_url: str, reader: Account | None = None, *, archive_asks: bool = True
    ) -> ViewerProcess:
        """Start the viewer on an archive, or find it running; one that shows another is started again.

        Parameters
        ----------
        dicomweb_url
            The archive.
        reader
            Who may look; None leaves it to the archive to ask for a password.
        archive_asks
            Whether the archive knows the reader too; else it is not told of him.

        Raises
        ------
        NotInstalled
            If nginx or OHIF's pages are not on this machine; the message says what to install.
        StartFailed
            If it ended or did not answer in time; the message ends with its log.
        StorageFailed
            If the home is not writable.
        """
        running, doors = self.process, _doors(reader, archive_asks)
        wanted = (dicomweb_url, doors)
        if running and (running.dicomweb_url, running.doors) == wanted and self._answers(running):
            return running
        program = installed()
        self.stop()
        port = local_process.free_port(self._port or 0)
        configuration = self._configure(port, dicomweb_url, reader, archive_asks)
        command = [program, "-p", str(self._home), "-e", str(self.log), "-c", str(configuration)]
        return self._await(self._launch(command, os.environ, port, dicomweb_url, doors))

    def _answers(self, process: ViewerProcess) -> bool:
        return b"/dicom-web" in (answer_of(f"{process.url}/app-config.js") or b"")

    def __enter__(self) -> ViewerServer:
        return self

    def _configure(self, port: int, dicomweb_url: str, reader: Account | None, archive_asks: bool) -> Path:
        (self._home / "temporary").mkdir(parents=True, exist_ok=True)
        template, *included = CONFIGURATION
        for file in included:
            replace(self._home / file.name, file.read_bytes())
        readers = self._home / "readers"
        replace(readers, f"{reader.user}:{{PLAIN}}{reader.password}\n".encode() if reader else b"", 0o600)
        text = _NginxTemplate(template.read_text()).substitute(
            user="user root root;" if os.geteuid() == 0 else "",  # its workers are who started it
            home=self._home,
            port=port,
            pages=PAGES,
            configuration=FOLDER / "app-config.js",
            dicomweb=dicomweb_url.rstrip("/"),
            certificates=self._ca_file,
            sign_in=f'auth_basic "Organloop"; auth_basic_user_file "{readers}";' if reader else "",
            authorization="" if archive_asks else 'proxy_set_header Authorization "";',
        )
        path = self._home / template.name
        replace(path, text.encode())
        return path


def _doors(reader: Account | None, archive_asks: bool) -> str:
    """Return a digest of what is opened to whom."""
    said = f"{reader and reader.password} {archive_asks}".encode()
    return sha256_hex(b"\0".join((*(file.read_bytes() for file in CONFIGURATION), said)))


def installed() -> str:
    """Return the path of nginx.

    Raises
    ------
    NotInstalled
        If it or OHIF's pages are not on this machine.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if program is None:
        raise NotInstalled("nginx is not installed: apt-get install nginx-light")
    if not (PAGES / "index.html").exists():
        raise NotInstalled("OHIF is not installed: make viewer (needs npm)")
    return program
