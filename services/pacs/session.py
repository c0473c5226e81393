"""The session of an archive's connection: no answer fills the memory, packed or not, or ends too early.

A megabyte of gzip is a gigabyte. So nothing packed is asked for, or taken; an answer that is held in memory
is read to a bound. One that is too large to be held is streamed, and whoever reads it counts.

A connection that is lost within the head of an answer leaves fewer headers, and Python takes them for all.
Without a length what then came, often nothing, would be the whole object (RFC 9112 6.3, 8): such an answer is
taken only where it shows its end itself, as JSON and several parts do.
"""

from __future__ import annotations

import re
from typing import Any

import requests

ANSWER_BYTES = 64 * 1024**2
"""The most of an answer that is held; the list of a study of 20,000 instances takes half of it."""
_PIECE_BYTES = 64 * 1024
_AS_IT_IS = "identity"
_WITH_BODY = frozenset(range(200, 300)) - {requests.codes.no_content}
"""Statuses of answers whose body is what was asked for; of others the status says all."""
_BOUNDARY = re.compile(r"boundary=\"?[^\";\s]")

_PACKED = (
    "its answer came packed, though nothing packed was asked for. A proxy before it may compress whatever "
    "passes: have it honour Accept-Encoding, or not compress for this client"
)
_TOO_LARGE = (
    f"its answer is over {ANSWER_BYTES // 1024**2} MiB, more than any list of a study. Ask the archive for "
    "the same, and see what it sends"
)


class TooLargeAnswer(requests.RequestException):
    """An answer is packed, or larger than what is asked for can be."""


class UnknownLength(requests.ConnectionError):
    """An answer says neither how long it is nor that it comes in chunks, and nothing in it shows its end."""


class BoundedSession(requests.Session):
    """Reads no more of an answer than `ANSWER_BYTES`, and unpacks none."""

    def __init__(self) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = _AS_IT_IS

    def send(self, request: requests.PreparedRequest, **given: Any) -> requests.Response:
        """Send a request; see `requests.Session.send`.

        Raises
        ------
        TooLargeAnswer
            If the answer is packed, or held and over the bound.
        UnknownLength
            If only the end of the connection ends it, and it is one object, or nothing.
        """
        streamed = bool(given.pop("stream", False))
        redirected = not given.get("allow_redirects", True)  # on the way to the answer that is judged
        answer = super().send(request, stream=True, **given)
        if answer.headers.get("Content-Encoding", _AS_IT_IS).strip().lower() not in ("", _AS_IT_IS):
            answer.close()
            raise TooLargeAnswer(_PACKED)
        endless = not redirected and answer.status_code in _WITH_BODY and not _has_length(answer)
        if streamed and endless and not _is_of_parts(answer):
            answer.close()
            raise UnknownLength
        if not streamed:
            content = bytearray()
            with answer:
                for piece in answer.iter_content(_PIECE_BYTES):
                    content += piece
                    if len(content) > ANSWER_BYTES:
                        raise TooLargeAnswer(_TOO_LARGE)
            if endless and not content:
                raise UnknownLength
            answer._content = bytes(content)
        return answer


def _has_length(answer: requests.Response) -> bool:
    """Tell whether an answer that is cut is seen to be."""
    chunked = "chunked" in answer.headers.get("Transfer-Encoding", "").lower()
    return chunked or answer.headers.get("Content-Length", "").strip().isdecimal()


def _is_of_parts(answer: requests.Response) -> bool:
    """Tell whether what ends an answer's parts is named."""
    content_type = answer.headers.get("Content-Type", "").lower()
    return content_type.startswith("multipart/") and _BOUNDARY.search(content_type) is not None
