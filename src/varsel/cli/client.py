"""How client commands speak to an API: over HTTP, with a token (design 4)."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
import click

from varsel.cli.startup import Refused, home_of, load_settings
from varsel.issuer import DevelopmentIssuer

_TIMEOUT: Final = aiohttp.ClientTimeout(total=60)
_LIFETIME: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Service:
    """An API, and who we are there."""

    url: str
    token: str

    async def post(self, path: str, body: object) -> Any:
        """The JSON of a 2xx answer. Everything else ends the command, with a sentence that says who must act."""
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=_TIMEOUT) as http,
                http.post(self.url.rstrip("/") + path, json=body) as answer,
            ):
                content = await answer.json(content_type=None) if answer.content_length else {}
                if answer.ok:
                    return content
                raise _refusal(answer.status, content)
        except (aiohttp.ClientError, TimeoutError, ValueError) as e:
            raise click.ClickException(f"{self.url} does not answer: {type(e).__name__}") from None


def service(url: str | None, token: str | None, home: Path | None, scopes: Collection[str]) -> Service:
    """What was given; else the address of the settings, and a token of the home's local issuer with these scopes."""
    settings = load_settings({"VARSEL_HOME": home})
    if not token:
        place = home_of(settings)
        if not DevelopmentIssuer.exists(place):
            raise Refused(f"no token: give --token, or set VARSEL_TOKEN (there is no local issuer in {place})")
        token = DevelopmentIssuer(place).mint(None, scopes, _LIFETIME)
    return Service(url or settings.server.base_url, token)


def _refusal(status: int, problem: Any) -> click.ClickException:
    told = problem if isinstance(problem, dict) else {}
    wrong = "".join(f"\n  {path}: {' '.join(texts)}" for path, texts in told.get("errors", {}).items())
    if status in (401, 403):
        return Refused(f"the token does not allow this ({status})")
    if status < 500:
        return Refused(f"{told.get('detail') or told.get('title') or 'refused'} ({status}){wrong}")
    return click.ClickException(f"the service cannot answer now ({status}): try again")
