"""What we need from a register that tells its changes: one page at a time, as it came (registries 2.3, 3.1)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol


class UpstreamError(Exception):
    """A register did not answer as it should. `code` is stable and holds nothing personal.

    `transient`: trying again soon can help. `retry_after`: the register's own wish. `detail`: for the log.
    """

    def __init__(
        self,
        code: str,
        *,
        transient: bool = False,
        retry_after: timedelta | None = None,
        status: int | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(code)
        self.code = code
        self.transient = transient
        self.retry_after = retry_after
        self.status = status
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes up to number `to`, of `latest` that there are. `records` are persons, unread."""

    records: Sequence[object]
    to: int
    latest: int


class PersonFeed(Protocol):
    async def changes(self, since: int) -> ChangePage:
        """The page that follows change number `since`. Raises `UpstreamError`."""
        ...


@dataclass(frozen=True, slots=True)
class EntryPage:
    """Changes of addresses, oldest first, unread. `next_page`: its address, of the same register."""

    entries: Sequence[object]
    next_page: str | None
    updated: datetime | None  # when the register made the page


class AddressFeed(Protocol):
    async def first_page(self, since: datetime | None) -> EntryPage:
        """All addresses, or what has changed since. Raises `UpstreamError`."""
        ...

    async def page(self, address: str) -> EntryPage:
        """A page that an earlier one named. Raises `UpstreamError`."""
        ...


class AddressReception(Protocol):
    """Takes changes of businesses' addresses. Raises `UpstreamError`: `invalid_organisation_number`, `refused`, …"""

    async def define(self, contact: Mapping[str, Any]) -> str:
        """A new address; its registry id."""
        ...

    async def replace(self, registry_id: str, contact: Mapping[str, Any] | None) -> str:
        """Another address in the place of this one, or none; the registry id that it has from now on."""
        ...
