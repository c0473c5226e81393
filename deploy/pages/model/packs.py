"""The evidence packs of promotions, as they are kept."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response

from deploy.pages.model.roles import Watching
from deploy.pages.site import OfSite
from deploy.pages.templates import failed, page
from services.records.events.serving import ReleasePromoted
from services.releases.evidence_packs import EvidencePacks

router = APIRouter()

DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pack:
    """A pack as it stands on the page.

    Parameters
    ----------
    digest
        SHA-256 by which it is named.
    release, who, at, line
        The promotion it tells of, and the line of the log; None of a pack of which no line speaks.
    kept
        Whether its file is there.
    """

    digest: str
    release: int | None
    who: str
    at: str
    line: int | None
    kept: bool


@router.get("/log/packs")
def packs(request: Request, who: Watching, site: OfSite) -> Response:
    """Show which packs there are, the newest first."""
    kept = set(EvidencePacks(site.settings.release_store).digests())
    acts = [one for one in reversed(site.records.all(ReleasePromoted)) if one.said.evidence]
    found = [
        Pack(
            digest=str(one.said.evidence),
            release=one.said.release,
            who=one.who,
            at=f"{one.at:%d.%m.%Y %H:%M}",
            line=one.number,
            kept=one.said.evidence in kept,
        )
        for one in acts
    ]
    found += [Pack(one, None, "", "", None, True) for one in sorted(kept - {one.digest for one in found})]
    return page(request, "packs.html", who=who, packs=found)


@router.get("/log/packs/{digest}")
def pack(request: Request, digest: str, who: Watching, site: OfSite) -> Response:
    """Give a pack's file as it is kept, if its bytes are those it is named by."""
    found = EvidencePacks(site.settings.release_store)
    if not DIGEST.fullmatch(digest) or not found.path(digest).is_file():
        return failed(request, 404, "There is no such evidence pack", "The log names those there are.")
    headers = {"Content-Disposition": f'attachment; filename="evidence-{digest[:12]}.json"'}
    return Response(found.content(digest), media_type="application/json", headers=headers)
