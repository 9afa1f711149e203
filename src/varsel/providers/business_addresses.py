"""The register of businesses' notification addresses: its feed, and where changes are sent (registries 3.1, 3.7)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from yarl import URL

from varsel.providers.feed_http import FeedClient
from varsel.registry_sync.ports import EntryPage, UpstreamError

_MAX_ADDRESS: Final = 8_192


class BusinessFeed:
    """An `AddressFeed`."""

    def __init__(self, url: str, client: FeedClient, *, page_size: int) -> None:
        self._url = URL(url)
        self._client = client
        self._page_size = page_size

    async def first_page(self, since: datetime | None) -> EntryPage:
        query = {"pageSize": str(self._page_size)}
        if since is not None:
            query["since"] = f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"
        return self._read(await self._client.ask("GET", self._url.update_query(query)))

    async def page(self, address: str) -> EntryPage:
        return self._read(await self._client.ask("GET", self._own(address)))

    def _read(self, answer: Any) -> EntryPage:
        match answer:
            case {"entries": list(entries)}:
                following = answer.get("nextPage") or None
                if following is not None:
                    self._own(following)
                return EntryPage(entries, following, _instant(answer.get("updated")))
        raise UpstreamError("protocol", detail="no list of entries")

    def _own(self, address: object) -> URL:
        """The address of a page, if it is of the same register: only there may our requests go."""
        try:
            url = URL(address) if isinstance(address, str) and len(address) <= _MAX_ADDRESS else None
        except ValueError:
            url = None
        if url is None or not url.absolute or url.origin() != self._url.origin():
            raise UpstreamError("foreign_page", detail="the next page is not of this register")
        return url


def _instant(value: object) -> datetime | None:
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
        return read and (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


class BusinessReception:
    """An `AddressReception`. The answer of a refusal may come with status 200."""

    def __init__(self, url: str, client: FeedClient) -> None:
        self._url = URL(url)
        self._client = client

    async def define(self, contact: Mapping[str, Any]) -> str:
        return await self._tell(self._url / "define", contact)

    async def replace(self, registry_id: str, contact: Mapping[str, Any] | None) -> str:
        return await self._tell(self._url / "replace" / registry_id, contact)

    async def _tell(self, url: URL, contact: Mapping[str, Any] | None) -> str:
        answer = await self._client.ask("POST", url, contact)
        match answer:
            case {"boolResult": True, "addressId": str(registry_id)} if registry_id:
                return registry_id
            case {"details": str(details)} if _NO_ORGANISATION in details.lower():
                raise UpstreamError("invalid_organisation_number")
            case {"boolResult": bool()} | {"status": str()}:
                raise UpstreamError("refused")
        raise UpstreamError("protocol", detail="neither an address nor a refusal")


_NO_ORGANISATION: Final = "is not a valid norwegian organization number"
