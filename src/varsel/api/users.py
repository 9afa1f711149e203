"""Which user calls (registries 4.2): a person who has logged in, with a token of their own."""

from starlette.requests import Request

from varsel.api.auth import Authenticator, Caller
from varsel.api.problems import Refusal
from varsel.issuer import ENDUSER_READ_SCOPE, ENDUSER_SCOPE

_BY_EMAIL = "idportenepost"


class Users:
    """Lets users in. Without `scopes`, whoever has a token that names a user."""

    def __init__(self, authenticator: Authenticator, *, scopes: bool) -> None:
        self._authenticator = authenticator
        self._scopes = scopes

    async def require(self, request: Request) -> Caller:
        """A user of the portal. Answers 401, 403, or 400 for a token that names no user."""
        return await self._require(request, ENDUSER_SCOPE)

    async def require_reader(self, request: Request) -> Caller:
        return await self._require(request, ENDUSER_SCOPE, ENDUSER_READ_SCOPE)

    async def require_identified(self, request: Request) -> Caller:
        """A user of the portal who has not logged in by an address alone (registries 4.3)."""
        caller = await self.require(request)
        if (caller.login or _BY_EMAIL).lower() == _BY_EMAIL:
            raise Refusal(403)
        return caller

    async def _require(self, request: Request, *scopes: str) -> Caller:
        caller = await self._authenticator.require_scope(request, *(scopes if self._scopes else ()))
        caller.required_user()
        return caller
