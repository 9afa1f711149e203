"""The API of contract tests: `front` checks requests and stores nothing; `api` has the whole intake and a database."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from instants import ApiProcess
from road import Road
from serving import Api, Client, Front, Orders, make_parts, served, serving
from varsel.api.app import create_app
from varsel.clock import ManualClock
from varsel.db import Database
from varsel.orders.register import Register


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    orders = Orders()
    clock = ManualClock(datetime(2026, 11, 23, 10, tzinfo=UTC))
    nowhere = Database("host=127.0.0.1 port=1", size=1, name="never opened")
    home = tmp_path_factory.mktemp("home")
    parts = make_parts(
        home,
        clock,
        nowhere,
        orders.register,
        register_chain=orders.register_chain,
        place_instant=orders.place_instant,
    )
    with served(create_app(parts)) as port:
        assert parts.issuer
        yield Front(Client(port, parts.issuer), orders, clock)


@pytest.fixture
async def api(database: Database, clock: ManualClock, tmp_path: Path) -> AsyncIterator[Api]:
    road = Road(database, clock)
    register = Register(database, road.directory, clock, road.waker)
    process = await ApiProcess.begin(road)
    parts = make_parts(
        tmp_path,
        clock,
        database,
        register.register_order,
        register_chain=register.register_chain,
        directory=road.directory,
        wake=road.waker.wake,
        place_instant=process.instants.place,
    )
    assert parts.issuer
    async with serving(create_app(parts)) as port:
        yield Api(Client(port, parts.issuer), road)
    await process.end()
    await register.close()
    await parts.feed.close()
    await road.waker.close()
