"""A syslog receiver as a witness, over TLS: what it keeps is read by whoever may look there.

Source: RFC 5425 (TLS, octet counting), RFC 5424 (the message).
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models.errors import WitnessFailed
from models.words import storable
from services.witnesses.port import Head, words

LOG_AUDIT_NOTICE = 13 * 8 + 5
"""Facility 13, log audit; severity 5, notice (RFC 5424 6.2.1)."""
PORT = 6514
"""Of syslog over TLS (RFC 5425 4.1)."""
DEADLINE_SECONDS = 10.0


@dataclass(frozen=True)
class SyslogWitness:
    """Sends each head as one message; see `services.witnesses.port.Witness`.

    Parameters
    ----------
    host, port
        The receiver; its certificate must name the host.
    ca_file
        Certificates that it is checked against; None for the system's.
    """

    host: str
    port: int = PORT
    ca_file: Path | None = None

    @property
    def name(self) -> str:
        """What it is called."""
        return storable(f"syslog {self.host}:{self.port}")

    def tell(self, head: Head, at: datetime) -> None:
        """Send a message. Syslog knows no receipt: what is certain is that the receiver has the bytes."""
        content = message(head, at)
        try:
            trusted = ssl.create_default_context(cafile=self.ca_file)
            trusted.minimum_version = ssl.TLSVersion.TLSv1_2
            with (
                socket.create_connection((self.host, self.port), DEADLINE_SECONDS) as connection,
                trusted.wrap_socket(connection, server_hostname=self.host) as secure,
            ):
                secure.sendall(b"%d %b" % (len(content), content))
                with contextlib.suppress(ssl.SSLError, ConnectionError, TimeoutError):
                    secure.unwrap()  # many receivers close without a farewell (RFC 5425 4.4)
        except OSError as error:  # of TLS too
            reason = error.strerror or getattr(error, "verify_message", "") or type(error).__name__
            raise WitnessFailed(f"the witness {self.name} could not be told ({reason})") from error

    def remembered(self) -> None:
        """Return None: what a receiver keeps is compared by `audit verify --witnessed`."""
        return


def message(head: Head, at: datetime) -> bytes:
    """Return the syslog message of a head (RFC 5424 6), without its frame."""
    time = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    host = "".join(c for c in socket.gethostname() if "!" <= c <= "~")[:255] or "-"
    return f"<{LOG_AUDIT_NOTICE}>1 {time} {host} organloop {os.getpid()} log-head - {words(head)}".encode()
