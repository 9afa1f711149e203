"""The registers that the settings let our copies follow, and the one that takes changes (registries 2.5, 3.4, 3.7)."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

from varsel.clock import Clock
from varsel.db import Database
from varsel.domain.feeds import Feed
from varsel.providers.business_addresses import BusinessFeed, BusinessReception
from varsel.providers.feed_http import FeedClient
from varsel.providers.krr import KrrFeed
from varsel.providers.maskinporten import Maskinporten
from varsel.registry_sync.streams import AddressStream, PersonStream
from varsel.registry_sync.sync import Sync
from varsel.settings import Settings


class RegistryFeeds:
    """Opens connections when a register is first asked."""

    def __init__(self, settings: Settings, db: Database, clock: Clock) -> None:
        """Raises `ValueError` for a key or a certificate that is none."""
        self._settings = settings.registry
        self._business_tls = _tls(settings.registry.business_client_certificate)
        self._synthetic_only = settings.environment != "production"
        self._db = db
        self._clock = clock
        self._maskinporten = Maskinporten.from_settings(settings.registry)
        self._clients: list[FeedClient] = []

    def enabled(self) -> list[Sync[Any]]:
        """One for each feed that is to be followed."""
        chosen = {
            Feed.KRR: self._settings.krr_sync_enabled,
            Feed.BUSINESS_ADDRESSES: self._settings.business_sync_enabled,
        }
        return [sync for feed, on in chosen.items() if on and (sync := self.sync(feed))]

    def sync(self, feed: Feed) -> Sync[Any] | None:
        """None when the settings do not say where that register is."""
        match feed:
            case Feed.KRR:
                return self._persons()
            case Feed.BUSINESS_ADDRESSES:
                return self._addresses()

    def reception(self) -> BusinessReception | None:
        """Who takes changes of businesses' addresses; None when they are our own affair."""
        url = self._settings.business_reception_url
        return (
            BusinessReception(url, self._business_client())
            if url and self._settings.business_write_mode == "upstream"
            else None
        )

    async def close(self) -> None:
        closing = [client.close() for client in self._clients]
        if self._maskinporten:
            closing.append(self._maskinporten.close())
        await asyncio.gather(*closing)

    def _persons(self) -> Sync[Any] | None:
        if self._settings.krr_changes_url is None or self._maskinporten is None:
            return None
        feed = KrrFeed(self._settings.krr_changes_url, self._client(self._settings.maskinporten_scope_krr))
        stream = PersonStream(feed, synthetic_only=self._synthetic_only)
        return Sync(self._db, stream, self._clock, interval=self._settings.krr_sync_interval)

    def _addresses(self) -> Sync[Any] | None:
        if self._settings.business_feed_url is None:
            return None
        feed = BusinessFeed(
            self._settings.business_feed_url, self._business_client(), page_size=self._settings.business_page_size
        )
        stream = AddressStream(feed, overlap=self._settings.business_overlap)
        return Sync(self._db, stream, self._clock, interval=self._settings.business_sync_interval)

    def _business_client(self) -> FeedClient:
        return self._client(self._settings.maskinporten_scope_business, self._business_tls)

    def _client(self, scope: str | None, tls: ssl.SSLContext | None = None) -> FeedClient:
        client = FeedClient(self._maskinporten.scope(scope) if scope and self._maskinporten else None, tls=tls)
        self._clients.append(client)
        return client


def _tls(certificate: Path | None) -> ssl.SSLContext | None:
    if certificate is None:
        return None
    context = ssl.create_default_context()
    try:
        context.load_cert_chain(certificate)
    except (OSError, ssl.SSLError):
        raise ValueError("registry.business_client_certificate is no PEM file with a certificate and its key") from None
    return context
