"""By an OpenID Connect provider: authorization code flow with PKCE, done by Authlib.

Sources: OpenID Connect Core 1.0, section 3.1; RFC 7636.
"""

from __future__ import annotations

from collections.abc import Mapping

from authlib.integrations.base_client import OAuthError
from authlib.integrations.starlette_client import OAuth
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from httpx2 import HTTPError
from joserfc.errors import JoseError

from deploy.pages.doors import enter, of_session, own_page
from deploy.pages.templates import failed
from models.people import Person, roles_of
from services.settings import Settings

router = APIRouter()

NEXT = "next"
METADATA = "/.well-known/openid-configuration"


class ByProvider:
    """A provider of the site.

    Parameters
    ----------
    settings
        With its address, the client that it knows us as, and the groups that give each role.
    """

    def __init__(self, settings: Settings) -> None:
        issuer, secret = settings.oidc_issuer or "", settings.oidc_client_secret
        self._claim, self._groups = settings.oidc_groups_claim, settings.groups
        self.client = OAuth().register(
            "provider",
            client_id=settings.oidc_client,
            client_secret=None if secret is None else secret.get_secret_value(),
            server_metadata_url=issuer.rstrip("/") + METADATA,
            client_kwargs={
                "scope": settings.oidc_scopes,
                "code_challenge_method": "S256",
                "token_endpoint_auth_method": "none" if secret is None else "client_secret_basic",
            },
        )

    def person(self, request: Request) -> Person | None:
        """Return who signed in."""
        return of_session(request)

    async def claims(self, token: Mapping[str, Mapping[str, object]]) -> Mapping[str, object]:
        """Return what the provider says of whom its ID token names: there, and where it tells more.

        Raises
        ------
        ValueError
            If it tells of another.
        """
        named = dict(token["userinfo"])  # checked: signature, issuer, audience, nonce, times
        if self._claim in named:
            return named
        more = dict(await self.client.userinfo(token=token))
        if more.get("sub") != named["sub"]:
            raise ValueError("ID token and user info name different people")
        return more | named

    def told(self, claims: Mapping[str, object]) -> Person:
        """Return whom the provider's claims name.

        Raises
        ------
        ValueError
            If they name nobody.
        """
        said = claims.get(self._claim, ())
        groups = {said} if isinstance(said, str) else {str(one) for one in said}  # type: ignore[attr-defined]
        subject, issuer = str(claims.get("sub", "")), str(claims.get("iss", ""))
        names = (claims.get("name"), claims.get("preferred_username"), claims.get("email"), subject)
        shown = next(str(one) for one in names if one)
        return Person(subject, issuer, shown, roles_of(groups, self._groups))


@router.get("/sign-in")
async def go(request: Request, next: str = "/") -> Response:
    """Send the browser to the provider."""
    way: ByProvider = request.app.state.way
    request.session.clear()
    request.session[NEXT] = own_page(next)
    try:
        sent: Response = await way.client.authorize_redirect(
            request, f"{request.app.state.address}/sign-in/back"
        )
    except HTTPError as error:
        return _away(request, error)
    return sent


@router.get("/sign-in/back")
async def back(request: Request) -> Response:
    """Take what the provider says of who came back."""
    way: ByProvider = request.app.state.way
    wanted = own_page(str(request.session.get(NEXT, "/")))
    try:
        token = await way.client.authorize_access_token(request)
        who = way.told(await way.claims(token))
    except HTTPError as error:
        return _away(request, error)
    except (OAuthError, JoseError, KeyError, TypeError, ValueError) as error:
        said = f"The provider's answer proves nobody: {type(error).__name__}. Sign in again."
        return failed(request, 403, "You are not signed in", said)
    enter(request, who)
    return RedirectResponse(wanted, 303)


def _away(request: Request, error: HTTPError) -> Response:
    said = f"It does not answer ({type(error).__name__}). Try again; if it goes on, tell who runs it."
    return failed(request, 503, "The sign-in service is away", said)
