"""An API as operators meet it: with settings of their own, and calls without a token."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from serving import Api, Client, Orders, make_parts, serving
from varsel.api.app import create_app
from varsel.settings import OperationsSettings, Settings

KEY: Final = "a-key-of-twenty-chars"


@asynccontextmanager
async def serving_with(api: Api, home: Path, **operations: Any) -> AsyncIterator[Client]:
    """A second API on the same database, with these settings of operations."""
    settings = Settings(operations=OperationsSettings(**operations))
    parts = make_parts(home, api.road.clock, api.road.db, Orders().register, settings)
    assert parts.issuer
    async with serving(create_app(parts)) as port:
        yield Client(port, parts.issuer)
    await parts.feed.close()


def anonymous(**more: str | None) -> dict[str, str | None]:
    return {"Authorization": None, **more}
