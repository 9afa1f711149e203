"""Mail and passwords travel over TLS or not at all (channels 2.1, assertions 4 and 44, faults F5-F7)."""

import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postal import BOUNCES, FAULT, THROTTLED, Canned, email, one, provider_at, shape
from varsel.delivery.ports import (
    Accepted,
    Deferred,
    EmailProvider,
    Indeterminate,
    SendResult,
)
from varsel.providers.smtp import SmtpProvider
from varsel.settings import SmtpProviderSettings
from varsel.simulators.smtp import SmtpSimulator


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("tls") / "both.pem", ends=timedelta(days=1))


def made(path: Path, *, ends: timedelta) -> Path:
    """A self-signed certificate and its key, for 127.0.0.1, that is good until so long from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulator")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        built.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def server_tls(certificate: Path) -> ssl.SSLContext:
    return serving(certificate)


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def client_tls(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_mail_and_login_travel_over_tls(
    mode: str, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    async with (
        SmtpSimulator(tls=server_tls, implicit=mode == "implicit", login=("sim", "right")) as server,
        provider_at(server.port, tls=client_tls, tls_mode=mode, username="sim", password="right") as provider,
    ):
        assert shape(await one(provider, email())) == Accepted()
        assert [command.argument for command in server.commands if command.verb == "AUTH"] == ["PLAIN"]
        ehlo = [command.verb for command in server.commands].count("EHLO")
        assert ehlo == (2 if mode == "starttls" else 1)  # what was said in clear does not count


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
async def test_a_certificate_that_does_not_hold_defers_and_sends_nothing(mode: str, server_tls: ssl.SSLContext) -> None:
    async with (
        SmtpSimulator(tls=server_tls, implicit=mode == "implicit") as server,
        provider_at(server.port, tls_mode=mode) as provider,
    ):
        assert shape(await one(provider, email())) == FAULT
        assert not server.stored
        assert "MAIL" not in [command.verb for command in server.commands]


@pytest.mark.parametrize("mode", ["starttls", "implicit"])
@pytest.mark.assertion("channels-faults", 7)
async def test_a_certificate_that_has_expired_defers_and_sends_nothing(mode: str, tmp_path: Path) -> None:
    expired = made(tmp_path / "expired.pem", ends=timedelta(days=-1))
    believing = ssl.create_default_context(cafile=str(expired))
    async with (
        SmtpSimulator(tls=serving(expired), implicit=mode == "implicit") as server,
        provider_at(server.port, tls=believing, tls_mode=mode) as provider,
    ):
        result = await one(provider, email())
        assert shape(result) == FAULT
        assert isinstance(result, Deferred)
        assert "expired" in result.detail
        assert not server.stored
        assert "MAIL" not in [command.verb for command in server.commands]


async def test_a_certificate_is_not_asked_for_where_the_setting_says_so(server_tls: ssl.SSLContext) -> None:
    async with (
        SmtpSimulator(tls=server_tls) as server,
        provider_at(server.port, tls_mode="starttls", verify_certificate=False) as provider,
    ):
        assert shape(await one(provider, email())) == Accepted()


@pytest.mark.assertion("channels-faults", 6)
async def test_nothing_is_sent_in_clear_when_starttls_is_missing() -> None:
    async with (
        SmtpSimulator(login=("sim", "right")) as server,
        provider_at(server.port, tls_mode="starttls", username="sim", password="right") as provider,
    ):
        assert shape(await one(provider, email())) == FAULT
        assert {command.verb for command in server.commands} == {"EHLO"}


@pytest.mark.assertion("channels", 4)
@pytest.mark.assertion("channels-faults", 5)
async def test_a_wrong_password_is_never_a_messages_fault_and_a_corrected_one_works() -> None:
    async with (
        SmtpSimulator(login=("sim", "right")) as server,
        provider_at(server.port, username="sim", password="wrong", connections=2) as provider,
    ):
        results = await provider.send([email() for _ in range(10)])
        assert [shape(result) for result in results] == [FAULT] * 10
        assert "535" in results[0].detail
        server.login = ("sim", "wrong")
        assert shape(await one(provider, email())) == Accepted()


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({"AUTH": "535 5.7.8 No"}, FAULT),
        ({"AUTH": "534 5.7.9 Too weak"}, FAULT),
        ({"AUTH": "538 5.7.11 Encrypt"}, FAULT),
        ({"AUTH": "454 4.7.0 Try later"}, THROTTLED),
        ({"EHLO": "250-canned\r\n250 AUTH CRAM-MD5"}, FAULT),
        ({"EHLO": "250 canned"}, FAULT),
    ],
)
async def test_a_refused_login_defers(answers: dict[str, str], expected: SendResult) -> None:
    answers = {"EHLO": "250-canned\r\n250 AUTH LOGIN PLAIN CRAM-MD5", **answers}
    async with (
        Canned(answers) as server,
        provider_at(server.port, username="sim", password="right") as provider,
    ):
        assert shape(await one(provider, email())) == expected
        assert not any("MAIL" in line or "CRAM" in line for line in server.seen)


def settings(**given: object) -> SmtpProviderSettings:
    return SmtpProviderSettings.model_validate({"name": "smtp-main", "host": "relay.example", "port": 25, **given})


@pytest.mark.parametrize(
    "given",
    [
        {"tls": "none"},
        {"tls": "none", "host": "10.0.0.1"},
        {"tls": "none", "trusted_network": True, "username": "sim", "password": "secret"},
        {"tls": "none", "host": "localhost.example", "username": "sim", "password": "secret"},
    ],
)
@pytest.mark.assertion("channels", 44)
def test_no_mail_or_password_leaves_this_host_in_clear(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="smtp-main") as refused:
        SmtpProvider(settings(**given), BOUNCES)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "given", [{"tls": "none", "trusted_network": True}, {"tls": "none", "host": "::1"}, {"tls": "starttls"}]
)
def test_what_is_allowed_is_taken(given: dict[str, object]) -> None:
    provider: EmailProvider = SmtpProvider(settings(**given, connections=7, on_indeterminate="hold"), BOUNCES)
    assert (provider.name, provider.step, provider.on_indeterminate) == ("smtp-main", 7, Indeterminate.HOLD)
