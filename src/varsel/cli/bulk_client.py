"""Bulk jobs over HTTP, for `varsel send` (docs/bulk.md)."""

import http.client
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, urlsplit

import click

from varsel.cli.refused import Refused

PATH: Final = "/notifications/api/v1/future/bulk"
_TIMEOUT: Final = 120.0  # s; the rows of a file are stored before the upload is answered
_JSON: Final = "application/json"
_ANY: Final = "application/octet-stream"


class _Told:
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], tell: Callable[[int], object]) -> None:
        self._file = file
        self._tell = tell

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._tell(len(data))
        return data


@dataclass(frozen=True, slots=True)
class BulkService:
    """What is refused, or not answered, ends the command with a sentence that says who must act."""

    url: str
    token: str

    def upload(self, file: Path, tell: Callable[[int], object]) -> Any:
        size = file.stat().st_size
        with file.open("rb") as opened:
            headers = {"Content-Type": _ANY, "Content-Length": str(size)}
            return self._json("POST", f"?name={quote(file.name)}", _Told(opened, tell), headers)

    def get(self, job: str) -> Any:
        return self._json("GET", f"/{quote(job)}")

    def configure(self, job: str, wish: Mapping[str, Any]) -> Any:
        return self._json("PUT", f"/{quote(job)}", json.dumps(wish).encode(), {"Content-Type": _JSON})

    def confirm(self, job: str, rows: int, *, leave_out_bad: bool) -> Any:
        body = json.dumps({"rows": rows, "leaveOutBad": leave_out_bad}).encode()
        return self._json("POST", f"/{quote(job)}/confirm", body, {"Content-Type": _JSON})

    def act(self, job: str, what: str) -> Any:
        """`pause`, `resume` or `stop`."""
        return self._json("POST", f"/{quote(job)}/{what}")

    def save_result(self, job: str, to: Path) -> None:
        with self._answer("GET", f"/{quote(job)}/result") as answer, to.open("wb") as file:
            shutil.copyfileobj(answer, file)

    def _json(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        with self._answer(method, path, body, headers) as answer:
            return json.loads(answer.read())

    def _answer(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> http.client.HTTPResponse:
        where = urlsplit(self.url)
        kind = http.client.HTTPSConnection if where.scheme == "https" else http.client.HTTPConnection
        try:
            connection = kind(where.hostname or "", where.port, timeout=_TIMEOUT)
            sent = {"Authorization": f"Bearer {self.token}", "Connection": "close", **(headers or {})}
            with suppress(BrokenPipeError, ConnectionResetError):  # refused unread: the answer says why
                connection.request(method, f"{where.path.rstrip('/')}{PATH}{path}", body, sent)
            answer = connection.getresponse()
            if answer.status >= 300:
                raise _refusal(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as e:
            raise click.ClickException(f"{self.url} does not answer: {type(e).__name__}") from None
        return answer


def _refusal(status: int, content: bytes) -> click.ClickException:
    try:
        told = json.loads(content)
    except ValueError:
        told = {}
    wrong = "".join(f"\n  {path}: {' '.join(texts)}" for path, texts in told.get("errors", {}).items())
    if status in (401, 403):
        return Refused(f"the token does not allow this ({status})")
    if status < 500:
        return Refused(f"{told.get('detail') or told.get('title') or 'refused'} ({status}){wrong}")
    return click.ClickException(f"the service cannot answer now ({status}): try again")
