"""The local development issuer's public documents, for others who want to verify its tokens (design 8)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from joserfc.jwk import KeySet
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from varsel.issuer import DevelopmentIssuer

PATH: Final = "/dev/issuer"


def discovery_routes(issuer: DevelopmentIssuer, base: str) -> Sequence[BaseRoute]:
    """`base`: `{base}` of links."""

    async def configuration(_request: Request) -> Response:
        url = f"{base}{PATH}"
        return JSONResponse({"issuer": url, "jwks_uri": f"{url}/jwks"})

    return [
        Route(f"{PATH}/.well-known/openid-configuration", configuration),
        Route(f"{PATH}/jwks", _serving(issuer.bearer_keys)),
        Route(f"{PATH}/platform/jwks", _serving(issuer.platform_keys)),
    ]


def _serving(keys: KeySet) -> Callable[[Request], Awaitable[Response]]:
    document = keys.as_dict(private=False)

    async def serve(_request: Request) -> Response:
        return JSONResponse(document)

    return serve
