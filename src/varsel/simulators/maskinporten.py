"""Maskinporten, simulated (registries 6.5, 8): grants are judged as there; registers know the tokens it gives out."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from varsel.simulators.registry_server import Handler, RegistrySimulator, Reply, now_utc
from varsel.simulators.world import World

TOKEN: Final = "/token"  # noqa: S105 - a path
EXCHANGE: Final = "/authentication/api/v1/exchange/maskinporten"
_METADATA: Final = "/.well-known/oauth-authorization-server"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LONGEST_GRANT: Final = 120  # s
_CLOCKS_MAY_DIFFER: Final = 10  # s


@dataclass(slots=True)
class Client:
    """Who may ask for tokens: its public key, the scopes granted to it, and its organisation."""

    key: RSAKey
    scopes: Collection[str]
    organisation: str = "310001007"


class MaskinportenSimulator(RegistrySimulator):
    """`grants` holds the claims of every grant that was signed well. `lifetime`: of tokens."""

    def __init__(
        self,
        clients: Mapping[str, Client],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        now: Callable[[], datetime] = now_utc,
        lifetime: timedelta = timedelta(seconds=120),
        key: RSAKey | None = None,
    ) -> None:
        """`key`: signs the tokens; None makes one, which takes a moment."""
        super().__init__(World(), {TOKEN: self._token}, host=host, port=port, now=now)
        self.clients = dict(clients)
        self.lifetime = lifetime
        self.grants: list[Mapping[str, Any]] = []
        self._key = key or RSAKey.generate_key(2048, auto_kid=True)
        self._used: set[str] = set()
        self._live: dict[str, Mapping[str, Any]] = {}

    @property
    def issuer(self) -> str:
        """The audience of grants. Its slash matters."""
        return self.url

    @property
    def token_url(self) -> str:
        return self.url.rstrip("/") + TOKEN

    def claims(self, authorization: str | None) -> Mapping[str, Any] | None:
        """What a register learns from a request's `Authorization`; None for what is not, or no longer, ours."""
        kind, _, token = (authorization or "").partition(" ")
        found = self._live.get(token) if kind == "Bearer" else None
        return found if found and found["exp"] > self.now().timestamp() else None

    def expire_tokens(self) -> None:
        """No token that was given out counts any more."""
        self._live.clear()

    def find(self, request: web.Request) -> Handler | None:
        documents: dict[str, Handler] = {
            _METADATA: lambda _request, _body: Reply(
                {
                    "issuer": self.issuer,
                    "token_endpoint": self.token_url,
                    "jwks_uri": f"{self.url}jwks",
                    "grant_types_supported": [_GRANT],
                }
            ),
            "/jwks": lambda _request, _body: Reply({"keys": [self._key.as_dict(private=False)]}),
            EXCHANGE: lambda request, _body: self._exchanged(request),
        }
        return documents.get(request.path) if request.method == "GET" else super().find(request)

    def _token(self, _request: web.Request, form: Any) -> Reply:
        if not isinstance(form, dict) or form.get("grant_type") != _GRANT:
            return self._refused("invalid_request", "unsupported grant type")
        judged = self._judge(str(form.get("assertion", "")))
        if isinstance(judged, Reply):
            return judged
        seconds = int(self.lifetime.total_seconds())
        token = self._sign(judged, seconds)
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": seconds, "scope": judged["scope"]}
        return Reply(answer, headers=self._dated())

    def _judge(self, assertion: str) -> Mapping[str, Any] | Reply:
        """The grant's claims, or the refusal."""
        claims = self._verified(assertion)
        if claims is None:
            return self._refused("invalid_grant", "unknown client or signature (MP-100)")
        self.grants.append(claims)
        issued, ends = claims.get("iat", 0), claims.get("exp", 0)
        now = self.now().timestamp()
        if claims.get("aud") != self.issuer:
            return self._refused("invalid_grant", "wrong audience (MP-110)")
        if ends - issued > _LONGEST_GRANT or abs(issued - now) > _CLOCKS_MAY_DIFFER or ends < now:
            return self._refused("invalid_grant", "expired, too long, or the clocks differ (MP-130)")
        if not claims.get("jti") or claims["jti"] in self._used:
            return self._refused("invalid_grant", "used before (MP-012)")
        if not set(str(claims.get("scope", "")).split()) <= set(self.clients[claims["iss"]].scopes):
            return self._refused("invalid_scope", "scope not granted to the client (MP-200)")
        self._used.add(claims["jti"])
        return claims

    def _verified(self, assertion: str) -> dict[str, Any] | None:
        for name, client in self.clients.items():
            try:
                claims: dict[str, Any] = jwt.decode(
                    assertion, client.key, algorithms=["RS256", "RS384", "RS512"]
                ).claims
            except (JoseError, ValueError):
                continue
            return claims if claims.get("iss") == name else None
        return None

    def _sign(self, grant: Mapping[str, Any], seconds: int) -> str:
        now = int(self.now().timestamp())
        claims = {
            "iss": self.issuer,
            "client_id": grant["iss"],
            "client_amr": "private_key_jwt",
            "consumer": {
                "authority": "iso6523-actorid-upis",
                "ID": f"0192:{self.clients[grant['iss']].organisation}",
            },
            "scope": grant["scope"],
            "iat": now,
            "exp": now + seconds,
            "jti": f"{len(self._used)}-{time.monotonic_ns()}",
        }
        token = jwt.encode({"alg": "RS256", "kid": self._key.kid}, claims, self._key)
        self._live[token] = claims
        return token

    def _exchanged(self, request: web.Request) -> Reply:
        authorization = request.headers.get("Authorization")
        if not self.claims(authorization):
            return Reply({}, status=401)
        return Reply((authorization or "").partition(" ")[2])

    def _refused(self, error: str, description: str) -> Reply:
        return Reply({"error": error, "error_description": description}, status=400, headers=self._dated())

    def _dated(self) -> dict[str, str]:
        """The simulator's own clock, as clients see it."""
        return {"Date": format_datetime(self.now(), usegmt=True)}
