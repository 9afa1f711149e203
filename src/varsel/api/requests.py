"""What a request carries: its body within limits, its parameters, and who sent it (http-api 2, 6; design 8)."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Final, Generic
from urllib.parse import parse_qsl
from uuid import UUID

from starlette.requests import Request

from varsel.api.auth import Caller
from varsel.api.bodies import B, Findings, parse
from varsel.api.problems import Invalid, altinn, generic
from varsel.clock import Clock
from varsel.delivery.contents import Contents
from varsel.domain.ids import OrderId
from varsel.domain.schemes import NORWEGIAN, Identifiers
from varsel.settings import ContentSettings

_NO_RULES: Final = Contents(ContentSettings())
_UTF_8: Final = (b"utf-8", b"utf8", b"us-ascii")
_UUID: Final = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

Policy = Callable[[Request], Awaitable[Caller]]
"""`Authenticator.require_…`"""


@dataclass(frozen=True, slots=True)
class Taken(Generic[B]):
    """A checked request. `now` is when it arrived, in business time. `warnings`: by the path of the property."""

    body: B
    caller: Caller
    now: datetime
    warnings: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def creator(self) -> str:
        """Answers 403 when the tokens name none."""
        return self.caller.required_creator()


class Intake:
    """Takes JSON requests in the contract's order: content type, policy, stage 1, stage 2, creator (http-api 6).

    All bodies that are being worked on count against one limit, in bytes; over it a request is answered 503.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_body_bytes: int,
        max_waiting_bytes: int,
        identifiers: Identifiers = NORWEGIAN,
        contents: Contents = _NO_RULES,
    ) -> None:
        self.contents = contents
        self.clock = clock
        self.max_body = max_body_bytes
        self.free = max_waiting_bytes
        self.identifiers = identifiers

    def take(self, request: Request, policy: Policy, model: type[B]) -> "_Taking[B]":
        """`async with intake.take(…) as taken`: the body counts until the block ends."""
        return _Taking(self, request, policy, model)


class _Taking(Generic[B]):
    def __init__(self, intake: Intake, request: Request, policy: Policy, model: type[B]) -> None:
        self._intake = intake
        self._request = request
        self._policy = policy
        self._model = model
        self._held = 0

    async def __aenter__(self) -> Taken[B]:
        require_json(self._request)
        caller = await self._policy(self._request)
        now = self._intake.clock.now()
        try:
            findings = Findings(self._intake.identifiers, self._intake.contents.of(caller.creator))
            body = await parse(self._model, await self._read(), now, findings)
            return Taken(body, caller, now, findings.warnings)
        except BaseException:
            self._release()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    async def _read(self) -> bytearray:
        """The whole body. One that is refused is read on, up to twice the limit: who still writes hears no answer."""
        data, refusal, size, limit = bytearray(), None, 0, self._intake.max_body
        if int(header(self._request, b"content-length") or 0) > 2 * limit:
            raise generic(413, {"Connection": "close"})
        async for chunk in self._request.stream():
            size += len(chunk)
            if size > 2 * limit:
                raise generic(413, {"Connection": "close"})
            if refusal:
                continue
            self._hold(len(chunk))
            data += chunk
            if size > limit:
                refusal = generic(413)
            elif self._intake.free < 0:
                refusal = altinn("NOT-00004", {"Retry-After": "1"})
            if refusal:
                data.clear()
                self._release()
        if refusal:
            raise refusal
        return data

    def _hold(self, size: int) -> None:
        self._held += size
        self._intake.free -= size

    def _release(self) -> None:
        self._intake.free += self._held
        self._held = 0


def header(request: Request, name: bytes) -> bytes | None:
    """The first header of that name, which is in lower case."""
    headers: list[tuple[bytes, bytes]] = request.scope["headers"]
    for key, value in headers:
        if key == name:
            return value
    return None


def require_json(request: Request) -> None:
    """Answers 415 unless the body is JSON in UTF-8. A request without any body passes, and fails as an empty one."""
    content_type = header(request, b"content-type")
    if content_type is None:
        empty = header(request, b"content-length") in (None, b"0") and not header(request, b"transfer-encoding")
        if not empty:
            raise generic(415)
    elif content_type != b"application/json" and not _is_json(content_type.lower()):
        raise generic(415)


def _is_json(content_type: bytes) -> bool:
    media_type, *parameters = content_type.split(b";")
    pairs = (parameter.partition(b"=") for parameter in parameters)
    charsets = [value.strip(b' "') for name, _, value in pairs if name.strip() == b"charset"]
    return media_type.strip() == b"application/json" and all(charset in _UTF_8 for charset in charsets)


def query(request: Request) -> dict[str, str]:
    """Query parameters by name in lower case, the last of each. The frame has refused NUL."""
    raw = request.scope["query_string"].decode("latin-1")
    return {name.lower(): value for name, value in parse_qsl(raw, keep_blank_values=True)}


def order_id(request: Request) -> OrderId:
    """The path parameter `id`, with or without hyphens."""
    value = read_uuid(request.path_params["id"])
    if value is None:
        raise Invalid({"id": ["The value is not a valid UUID."]})
    return OrderId(value)


def read_uuid(text: str) -> UUID | None:
    return UUID(text) if _UUID.fullmatch(text) else None
