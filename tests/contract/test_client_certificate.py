"""The register of businesses' addresses may want to see our certificate (registries 3.1)."""

import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from varsel.clock import SystemClock
from varsel.db import Database
from varsel.domain.feeds import Feed
from varsel.providers.registry_feeds import RegistryFeeds
from varsel.settings import Settings


def make_certificate(file: Path, name: str) -> Path:
    """A certificate that signs itself, and its key, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return file


@pytest.fixture
async def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """Takes nobody but who shows `ours.pem`; its own certificate is trusted here. The address of its feed."""
    theirs, ours = (make_certificate(tmp_path / f"{name}.pem", name) for name in ("theirs", "ours"))
    monkeypatch.setenv("SSL_CERT_FILE", str(theirs))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ours))
    tls.load_cert_chain(theirs)
    tls.verify_mode = ssl.CERT_REQUIRED

    async def feed(_request: web.Request) -> web.Response:
        return web.json_response({"title": "Varslingsadresser", "updated": "2026-11-23T10:00:00Z", "entries": []})

    app = web.Application()
    app.router.add_get("/feed", feed)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}/feed"
    await runner.cleanup()


async def follow(database: Database, feed: str, certificate: Path | None) -> Any:
    """How a run ends."""
    registry = {"business_feed_url": feed, "business_client_certificate": certificate}
    feeds = RegistryFeeds(Settings.model_validate({"registry": registry}), database, SystemClock())
    sync = feeds.sync(Feed.BUSINESS_ADDRESSES)
    assert sync is not None
    sync._pause = no_pause
    report = await sync.run(at_once=True)
    await feeds.close()
    assert report is not None
    return report.outcome, report.error


async def no_pause(_seconds: float) -> None: ...


async def test_our_certificate_opens_the_register(database: Database, register: str, tmp_path: Path) -> None:
    assert await follow(database, register, None) == ("error", "network")
    assert await follow(database, register, make_certificate(tmp_path / "other.pem", "other")) == ("error", "network")
    assert await follow(database, register, tmp_path / "ours.pem") == ("done", None)


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_file_that_holds_no_certificate_is_named(
    database: Database, tmp_path: Path, content: str | None
) -> None:
    if content:
        (tmp_path / "bad.pem").write_text(content)
    settings = Settings.model_validate({"registry": {"business_client_certificate": tmp_path / "bad.pem"}})
    with pytest.raises(ValueError, match="business_client_certificate"):
        RegistryFeeds(settings, database, SystemClock())
