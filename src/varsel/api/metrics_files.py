"""The daily metrics files (http-api 18.2; processing 9.2): yesterday's results as Parquet, for who has the key.

Beside the contract's columns each file has the order's id: the contract's `ShipmentId` holds the notification's (O-19).
"""

import asyncio
import base64
import hashlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Final

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from varsel.api.operators import is_secret
from varsel.api.parquet import Column, ParquetMissing, ParquetWriter
from varsel.api.parts import ApiParts
from varsel.api.requests import header
from varsel.domain.notification import Channel
from varsel.domain.sms_text import reference_count
from varsel.status.metrics import ResultRow
from varsel.status.metrics_store import results

PATH: Final = "/notifications/api/v1/metrics"

_PAGE: Final = 10_000
_DAY: Final = timedelta(days=1)
_NORWEGIAN: Final = ("+47", "0047")

_COMMON: Final = (
    Column("ShipmentId", "string"),
    Column("SendersReference", "string"),
    Column("RequestedSendTime", "string"),
    Column("CreatorName", "string"),
    Column("ResourceId", "string", nullable=True),
    Column("Result", "string"),
)
EMAIL_COLUMNS: Final = (
    Column("EmailId", "int64"),
    *_COMMON,
    Column("OperationId", "string"),
    Column("OrderId", "string"),
)
SMS_COLUMNS: Final = (
    Column("SmsId", "int64"),
    *_COMMON,
    Column("GatewayReference", "string"),
    Column("Rate", "string"),
    Column("MobileNumberPrefix", "string"),
    Column("AltinnSmsCount", "int32"),
    Column("AltinnSmsBodyLength", "int32"),
    Column("AltinnSmsCustomBodyLength", "int32"),
    Column("OrderId", "string"),
)


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    channel: Channel
    columns: Sequence[Column]
    row: Callable[[ResultRow], tuple[object, ...]]


def metrics_file_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    files = _Files(parts)

    def route(kind: _Kind) -> Route:
        async def download(request: Request) -> Response:
            return _refusal(parts, request) or await files.make(kind)

        return Route(f"{PATH}/{kind.name}", download, methods=["POST"])

    return [
        route(_Kind("email", Channel.EMAIL, EMAIL_COLUMNS, _email_row)),
        route(_Kind("sms", Channel.SMS, SMS_COLUMNS, _sms_row)),
    ]


def _refusal(parts: ApiParts, request: Request) -> Response | None:
    key, known = header(request, b"x-api-key"), parts.settings.operations.metrics_key
    if key is None:
        error = "API key required for Metrics endpoints"
    elif not key.strip():
        error = "API key cannot be empty"
    elif known is None:
        error = "API key validation not configured"
    elif not is_secret(key, known):
        error = "Invalid API key"
    else:
        return None
    return JSONResponse({"error": error}, 401)


class _Files:
    """Makes one file at a time: each reads a day of the whole service."""

    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts
        self._free = asyncio.Lock()

    async def make(self, kind: _Kind) -> Response:
        now = self._parts.clock.now().astimezone(UTC)
        today = datetime.combine(now.date(), time(), UTC)
        async with self._free:
            folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="varsel-metrics-"))
            try:
                file = folder / "metrics.parquet"
                count = await self._write(file, kind, today - _DAY, today)
                digest = await asyncio.to_thread(_md5, file)
            except ParquetMissing:
                shutil.rmtree(folder)
                error = "Parquet files need an extra that is not installed here: varsel[parquet]"
                return JSONResponse({"error": error}, 501)
            except BaseException:
                shutil.rmtree(folder)
                raise
        environment = self._parts.settings.environment
        headers = {
            "X-File-Hash": digest,
            "X-File-Size": str(file.stat().st_size),
            "X-Total-FileTransfer-Count": str(count),
            "X-Generated-At": now.isoformat(),
            "X-Environment": environment,
        }
        name = f"{today - _DAY:%Y%m%d}_{kind.name}_notifications_{environment}.parquet"
        gone = BackgroundTask(shutil.rmtree, folder)
        return FileResponse(
            file, headers=headers, media_type="application/octet-stream", filename=name, background=gone
        )

    async def _write(self, file: Path, kind: _Kind, start: datetime, end: datetime) -> int:
        delivery = self._parts.settings.delivery
        settle = delivery.settle_email_after if kind.channel is Channel.EMAIL else delivery.settle_sms_after
        writer = await asyncio.to_thread(ParquetWriter, file, kind.columns)
        count, after = 0, None
        try:
            while True:
                rows = await results(
                    self._parts.database,
                    kind.channel,
                    start=start,
                    end=end,
                    settle_after=settle,
                    after=after,
                    limit=_PAGE,
                )
                await asyncio.to_thread(writer.write, map(kind.row, rows))  # texts are filled and counted there
                count += len(rows)
                if len(rows) < _PAGE:
                    return count
                after = rows[-1].id
        finally:
            await asyncio.to_thread(writer.close)


def _email_row(row: ResultRow) -> tuple[object, ...]:
    return (*_common(row), row.reference or "", str(row.order))


def _sms_row(row: ResultRow) -> tuple[object, ...]:
    text = row.filled if row.filled is not None else row.body or ""
    rate = "n/a" if not row.address else "innland" if row.address.startswith(_NORWEGIAN) else "utland"
    return (
        *_common(row),
        row.reference or "",
        rate,
        row.address[:4],
        reference_count(text),
        len(row.body or ""),
        len(row.filled or ""),
        str(row.order),
    )


def _common(row: ResultRow) -> tuple[object, ...]:
    return (
        row.id.int >> 65,  # the contract wants a number: time and counter of the id, which are unique in a process
        str(row.id),
        row.senders_reference or "",
        f"{row.requested_send_time.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z",
        row.creator,
        row.resource_id,
        row.result,
    )


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()
