"""All settings: one frozen object, from `VARSEL_<SECTION>__<NAME>` variables and an optional TOML file.

The defaults suit a laptop. `VARSEL_CONFIG` names the TOML file; variables win over it. `docs/operations.md` lists them
all; a test compares the list with this file.
"""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from importlib import import_module
from importlib.metadata import entry_points
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    SerializeAsAny,
    ValidationError,
    model_validator,
)

_PREFIX: Final = "VARSEL_"
DEFAULT_SECRETS: Final = frozenset({"", "password", "secret", "sandbox"})


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def _split(value: object) -> object:
    """A variable holds a list as words between commas."""
    return tuple(word for part in value.split(",") if (word := part.strip())) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]

Creators = Words
"""Names of creators, in any letter case; `*` stands for all."""


def _safe(url: str) -> str:
    parts = urlsplit(url)
    if (parts.scheme == "https" and parts.hostname) or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return url
    raise ValueError("the address must begin with https:// (http:// only to this machine)")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


SafeUrl = Annotated[str, AfterValidator(_safe)]
"""What is sent there, tokens and identities among it, never leaves this machine in the clear."""


Hosts = Annotated[
    tuple[Annotated[str, Field(pattern=r"^\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?$")], ...],
    BeforeValidator(_split),
]


Domains = Annotated[
    tuple[Annotated[str, Field(pattern=r"^[\w-]+(\.[\w-]+)+$")], ...],
    BeforeValidator(_split),
]
"""Names of domains; what lies under them counts too."""


def lists(creators: Creators, creator: str) -> bool:
    return any(name in ("*", creator.casefold()) for name in map(str.casefold, creators))


class ServerSettings(_Section):
    host: str = "127.0.0.1"
    port: int = Field(default=5090, ge=0, le=65535)
    base_url: str = "http://localhost:5090"  # {base} of links and Location headers
    max_body_bytes: int = 30_000_000
    header_timeout: timedelta = timedelta(seconds=10)
    body_chunk_timeout: timedelta = timedelta(seconds=30)
    max_waiting_body_bytes: int = 64_000_000  # of all requests together; then 503
    max_reports_per_second: int = Field(default=1_000, ge=1)  # requests of one provider; then 429


class DatabaseSettings(_Section):
    api_connections: int = Field(default=8, ge=2)
    worker_connections: int = Field(default=4, ge=2)
    server_binaries: Path | None = None  # bin folder of the embedded server; None: those of the wheel


class IssuerSettings(_Section):
    """One OpenID Connect issuer whose bearer tokens are accepted."""

    discovery_url: str


class AuthSettings(_Section):
    issuers: tuple[IssuerSettings, ...] = ()
    platform_keys: dict[str, str] = {}  # issuer of platform access tokens → URL of its key set (JWKS)
    development_issuer: bool = False  # also accept the local issuer of the home
    jwks_max_age: timedelta = timedelta(minutes=5)


class SenderSettings(_Section):
    default_email: str = "noreply@altinn.cloud"
    default_sms: str = "Altinn"


class ProcessingSettings(_Section):
    due_grace: timedelta = timedelta()
    cancel_limit: timedelta = timedelta(minutes=5)
    sms_window_start_hour: int = Field(default=9, ge=0, le=23)
    sms_window_end_hour: int = Field(default=17, ge=1, le=24)
    sms_window_always_open: bool = False
    lifetime: timedelta = timedelta(hours=48)  # of a notification, from the requested send time
    expiry_grace: timedelta = timedelta(seconds=300)
    condition_timeout: timedelta = timedelta(seconds=30)
    condition_retry: timedelta = timedelta(seconds=60)
    condition_scope: str | None = None  # of the Maskinporten token that endpoints are shown over https; None: no token
    lookup_user_addresses_at_order: bool = True
    stale_contact_creators: Creators = ("skd",)  # their v2 orders to persons always use stale addresses too
    strict_idempotency_creators: Creators = ()  # an idempotency id repeated with another body is 409, not 200
    fail_closed_creators: Creators = ()  # their orders stop when the condition gives no usable answer twice
    max_recipients_per_turn: int = 10_000


class SchemeSettings(_Section):
    """Identifiers of persons or organisations beside Norway's own (registries 1.5)."""

    name: str
    kind: Literal["person", "organisation"]
    pattern: str  # regular expression that fits the whole identifier; a group `checked` is what the check digit is of
    check: Literal["none", "luhn", "mod11", "iso7064-mod11-10", "iso7064-mod11-2", "iso7064-mod97-10"] = "none"

    @model_validator(mode="after")
    def _compiles(self) -> Self:
        try:
            re.compile(self.pattern)
        except re.error as e:
            raise ValueError(f"the pattern of the scheme {self.name} is no regular expression: {e}") from None
        return self


class RegistrySettings(_Section):
    """Who can be reached where, and the registers whose changes the local copies follow (registries A)."""

    schemes: tuple[SchemeSettings, ...] = ()
    norwegian_identifiers: bool = True  # also take Norway's own: 11 digits for persons, 9 for organisations
    validation_level: Literal["shape", "checksum", "strict"] = "shape"  # of Norwegian identifiers in orders
    log_key: SecretStr | None = None  # of pseudonyms in the log of look-ups; none in production: no support look-ups
    stale_after_months: int = Field(default=18, ge=0)  # 0: never stale
    inherit_from_main_unit: bool = True
    person_name_order: Literal["display", "short"] = "display"
    person_name_case: Literal["as-is", "title"] = "as-is"  # the population register writes capitals
    lower_name_particles: Words = ("af", "av", "da", "de", "del", "der", "di", "du", "la", "van", "von", "zu")
    fallback_when_no_usable_address: bool = False  # to the main unit, also for subunits that have unusable addresses
    # Who answers each question. altinn: its live services, see [altinn]; krr-direct: KRR; both each time, uncopied
    person_provider: Literal["local", "krr-direct", "altinn", "none"] = "local"
    org_provider: Literal["local", "altinn", "none"] = "local"
    main_unit_provider: Literal["local", "altinn"] = "local"  # of organisations that `org_provider` does not know
    external_provider: Literal["local", "altinn", "none"] = "local"
    user_provider: Literal["local", "altinn", "none"] = "local"
    authz_provider: Literal["local", "altinn", "deny-all", "allow-all"] = "local"  # allow-all: not in production
    name_provider: Literal["local", "altinn", "none"] = "local"
    local_copy_creators: Creators = ()  # while a live register is down our copy serves them; the orders of others wait
    max_copy_age: timedelta = timedelta(hours=24)  # of a copy that follows a feed; older: no answer. 0: any age will do
    krr_changes_url: SafeUrl | None = None
    krr_lookup_url: SafeUrl | None = None
    krr_lookup_memory: timedelta = Field(default=timedelta(), ge=timedelta(), le=timedelta(seconds=60))  # of krr-direct
    krr_sync_enabled: bool = False
    krr_sync_interval: timedelta = Field(default=timedelta(minutes=10), ge=timedelta(seconds=30))
    business_feed_url: SafeUrl | None = None
    business_reception_url: SafeUrl | None = None
    business_client_certificate: Path | None = None  # PEM: our certificate and its key, shown to these two
    business_write_mode: Literal["local", "upstream"] = "local"
    business_page_size: int = Field(default=5_000, ge=1, le=10_000)
    business_overlap: timedelta = timedelta(seconds=60)  # is read again, for changes of the same instant
    business_sync_enabled: bool = False
    business_sync_interval: timedelta = Field(default=timedelta(minutes=10), ge=timedelta(seconds=30))
    require_enduser_scope: bool = True  # of users who change addresses: their organisation's, or their own
    maskinporten_issuer: str | None = None  # audience of our grants; its trailing slash matters
    maskinporten_token_url: SafeUrl | None = None
    maskinporten_client_id: str | None = None
    maskinporten_jwk: SecretStr | None = None  # private key: a JSON Web Key in base64
    maskinporten_scope_krr: str = "krr:global/kontaktinformasjon.read krr:global/hentendring.read"
    maskinporten_scope_business: str | None = None  # None: the business registers are called without a token

    @property
    def follows_registers(self) -> bool:
        """Whether KRR, or the register of businesses' addresses, is asked, followed or told of changes."""
        followed = self.krr_sync_enabled or self.business_sync_enabled
        return followed or self.person_provider == "krr-direct" or self.business_write_mode == "upstream"

    @property
    def providers(self) -> frozenset[str]:
        """Of all questions."""
        return frozenset(
            {
                self.person_provider,
                self.org_provider,
                self.main_unit_provider,
                self.external_provider,
                self.user_provider,
                self.authz_provider,
                self.name_provider,
            }
        )


class AltinnSettings(_Section):
    """Altinn's live services (registries 6). Each is asked when a provider of [registry] says so."""

    profile_url: SafeUrl | None = None  # such as https://platform.altinn.no/profile/api/v1/
    register_url: SafeUrl | None = None  # such as https://platform.altinn.no/register/api/v1/
    authorization_url: SafeUrl | None = None  # such as https://platform.altinn.no/authorization/api/v1/
    subscription_key: SecretStr | None = None  # for Authorization
    # For Register: a platform access token that we sign, or, from outside, one exchanged for Maskinporten's
    platform_token_key: SecretStr | None = None  # RSA private key in PEM
    platform_component: str = "notifications"  # as which we sign
    exchange_url: SafeUrl | None = (
        None  # such as https://platform.altinn.no/authentication/api/v1/exchange/maskinporten
    )
    exchange_scope: str = "altinn:register/partylookup.admin"
    connect_timeout: timedelta = timedelta(seconds=2)
    read_timeout: timedelta = timedelta(seconds=20)
    total_timeout: timedelta = timedelta(seconds=30)  # of one try; there are up to three
    connections: int = Field(default=10, ge=1, le=100)  # of one process to each service
    breaker_failures: int = Field(default=10, ge=1)  # in a row; then nothing is asked for a while
    breaker_pause: timedelta = timedelta(seconds=15)
    max_persons: int = Field(default=2_000, ge=1)  # in one request, and so below
    max_organisations: int = Field(default=1_000, ge=1)
    max_units: int = Field(default=100, ge=1, le=100)
    max_names: int = Field(default=1_000, ge=1, le=1_000)
    max_parties: int = Field(default=100, ge=1, le=100)
    authz_batch_size: int = Field(default=500, ge=1)  # pairs of a user and an organisation
    always_request_stale: bool = True  # and withhold here what is stale: else some reserved people look unknown


_CODE: Final = "$code$"


class CodeTexts(_Section):
    """How a verification code is sent. `$code$` stands once in each text for the code."""

    sms: str
    subject: str
    email: str  # HTML

    @model_validator(mode="after")
    def _hold_the_code(self) -> Self:
        if self.sms.count(_CODE) != 1 or self.email.count(_CODE) != 1:
            raise ValueError(f"{_CODE} must stand once in the text of the SMS, and once in that of the email")
        return self


class ProfileSettings(_Section):
    """Addresses that users register for themselves (registries 4.1-4.3)."""

    confirm_reminder: timedelta = timedelta(days=90)  # an address as old as this asks to be confirmed
    confirm_postpone: timedelta = timedelta(days=365)  # for so long a user who asked for it is not reminded
    code_cooldown: timedelta = timedelta(seconds=60)  # between two codes for the same address
    code_lifetime: timedelta = timedelta(minutes=15)
    code_max_attempts: int = Field(default=5, ge=1, le=100)
    creator: str = "varsel"  # of the orders that send codes
    nb: CodeTexts = CodeTexts(
        sms="Koden din er $code$. Oppgi den bare der du ba om den.",
        subject="Bekreft e-postadressen din",
        email="<p>Koden din er <b>$code$</b>. Oppgi den bare der du ba om den.</p>"
        "<p>Har du ikke bedt om en kode, kan du se bort fra denne e-posten.</p>",
    )
    nn: CodeTexts = CodeTexts(
        sms="Koden din er $code$. Oppgi han berre der du bad om han.",
        subject="Stadfest e-postadressa di",
        email="<p>Koden din er <b>$code$</b>. Oppgi han berre der du bad om han.</p>"
        "<p>Har du ikkje bede om ein kode, kan du sjå bort frå denne e-posten.</p>",
    )
    en: CodeTexts = CodeTexts(
        sms="Your code is $code$. Give it only where you asked for it.",
        subject="Confirm your email address",
        email="<p>Your code is <b>$code$</b>. Give it only where you asked for it.</p>"
        "<p>If you did not ask for a code, you can ignore this email.</p>",
    )


class FeedSettings(_Section):
    """The status feed as its readers meet it."""

    max_page: int = Field(default=500, ge=1, le=10_000)  # entries of one answer
    max_wait: timedelta = timedelta(seconds=60)  # of a reader that asks to wait for the next entry
    max_waiting: int = Field(default=1_000, ge=0)  # readers of one process that wait at once; others hear at once
    kept_for: timedelta = timedelta(days=90)  # older entries are deleted


class WebhookSettings(_Section):
    """Where events are sent to, for owners who want to be told.

    Hosts are names, or ends of names that begin with a dot; `:port` for another port than 443.
    """

    private_hosts: Hosts = ()  # may lie in private networks; outside production also http
    loopback_http: bool = False  # also to localhost, http and any port, for the sandbox and tests; never in production
    ports: Annotated[tuple[Annotated[int, Field(ge=1, le=65_535)], ...], BeforeValidator(_split)] = (443,)
    denied_networks: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_split)] = ()  # beside those not public
    event_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9.-]*$")  # of the types of events
    timeout: timedelta = Field(default=timedelta(seconds=15), gt=timedelta(), le=timedelta(minutes=1))  # of one request
    deliveries_kept_for: timedelta = timedelta(days=7)  # what became of each event


class DeliverySettings(_Section):
    settle_email_after: timedelta = timedelta(hours=6)
    settle_sms_after: timedelta | None = None  # None: at expiry
    unknown_wait: timedelta = timedelta(minutes=15)
    relayed_is_delivered: bool = False
    correction_period: timedelta = timedelta(days=14)
    lease: timedelta = timedelta(seconds=30)
    grace: timedelta = timedelta(seconds=8)  # to finish what has been handed over, at SIGTERM
    max_attempts: int = 60
    max_resends: int = Field(default=2, ge=0)  # of a message whose earlier tries have an unknown outcome
    breaker_open_for: timedelta = timedelta(seconds=30)  # the first time; then twice as long each time
    breaker_open_at_most: timedelta = timedelta(minutes=10)
    late_fallback_within: timedelta = Field(default=timedelta(hours=48), ge=timedelta())  # of the requested send time
    late_fallback_creators: Creators = ()  # whose v2 orders fall back unless they say `fallbackOnFailure: false`


class SuppressionSettings(_Section):
    """Addresses that are left alone (channels 6.5)."""

    key: SecretStr | None = None  # of what stands there in the place of addresses, and of links to unsubscribe
    kept_for: timedelta = timedelta(days=730)  # entries that have ended, or were removed


class CreatorContentSettings(_Section):
    """What one creator may put into its messages, and as whom it may send (channels 3.2, 6.7)."""

    links: Literal["off", "warn", "enforce"] = "off"
    link_domains: Domains = ()  # where its links may lead; none: nowhere
    active_html: bool = True  # scripts, forms, frames and the like in HTML
    sender_domains: Domains = ()  # of the senders of emails; none: any
    sms_senders: Words = ()  # of the protected names


class ContentSettings(_Section):
    protected_sms_senders: Words = ()  # names that only those creators may use to whom they are given
    plain_sms_senders: bool = False  # refuse senders that not every network carries
    creators: dict[str, CreatorContentSettings] = {}  # by the creator's name, in any letter case; `*`: all others


class ComposedSettings(_Section):
    """Emails with attachments, which are fetched when they leave.

    Hosts are names, or ends of names that begin with a dot; `:port` for another port than 443.
    """

    azure_hosts: Hosts = (".blob.core.windows.net",)  # addresses are signed as Azure does it
    presigned_hosts: Hosts = ()  # addresses are signed as S3 does it
    plain_hosts: Hosts = ()  # addresses are taken as they are
    loopback_http: bool = False  # also http to this machine, for the sandbox and tests; never in production
    max_attachment_bytes: int = Field(default=20_000_000, ge=0)  # of one email together, before encoding
    parallel_downloads: int = Field(default=5, ge=1, le=50)  # for one email
    parallel_emails: int = Field(default=5, ge=1, le=50)  # with attachments, in one worker
    download_timeout: timedelta = timedelta(seconds=30)  # of one attachment


class CreatorQuotaSettings(_Section):
    """Limits of one creator; None: as everybody's."""

    email_requests_per_minute: int | None = Field(default=None, ge=0)
    sms_requests_per_minute: int | None = Field(default=None, ge=0)
    email_recipients_per_day: int | None = Field(default=None, ge=0)
    sms_recipients_per_day: int | None = Field(default=None, ge=0)
    international_sms_parts_per_day: int | None = Field(default=None, ge=0)
    instant_emails_per_day: int | None = Field(default=None, ge=0)
    instant_sms_per_day: int | None = Field(default=None, ge=0)


class QuotaSettings(_Section):
    """What each creator may order (channels 6.3). 0: without limit. A day is a calendar day in Oslo."""

    email_requests_per_minute: int = Field(default=0, ge=0)
    sms_requests_per_minute: int = Field(default=0, ge=0)
    email_recipients_per_day: int = Field(default=1_000_000, ge=0)
    sms_recipients_per_day: int = Field(default=1_000_000, ge=0)
    international_sms_parts_per_day: int = Field(default=1_000_000, ge=0)
    instant_emails_per_day: int = Field(default=1_000_000, ge=0)
    instant_sms_per_day: int = Field(default=1_000_000, ge=0)
    creators: dict[str, CreatorQuotaSettings] = {}  # by the creator's name, in any letter case

    def of(self, creator: str) -> CreatorQuotaSettings:
        named = (own for name, own in self.creators.items() if name.casefold() == creator.casefold())
        return next(named, CreatorQuotaSettings())


class BulkSettings(_Section):
    """Files of recipients (docs/bulk.md)."""

    max_rows: int = Field(default=100_000, ge=1, le=1_000_000)  # of a file
    max_file_bytes: int = Field(default=32 * 1024 * 1024, ge=1)
    ahead: int = Field(default=10_000, ge=1)  # rows of a job that are ordered and that no provider has yet
    kept_for: timedelta = Field(default=timedelta(days=90), ge=timedelta(hours=1))  # after the last row's fate
    drafts_kept_for: timedelta = Field(default=timedelta(days=7), ge=timedelta(hours=1))  # what nobody confirmed


class PriceSettings(_Section):
    """What previews reckon with. Without a price, no cost is shown."""

    currency: str = "NOK"
    email: Decimal | None = Field(default=None, ge=0)  # of one email
    # of one part, by how the number begins: the longest match counts, "" for all others
    sms: dict[str, Annotated[Decimal, Field(ge=0)]] = {}


class OperationsSettings(_Section):
    """Who may call the triggers, the metrics page and /metrics: whoever shows the secret, and `open_to`."""

    secret: SecretStr | None = None  # in the header X-Operations-Secret, or as bearer token
    open_to: Literal["nobody", "loopback", "everybody"] | None = None  # None: loopback; in production nobody
    metrics_key: SecretStr | None = None  # X-API-Key of the daily metrics files; None: nobody gets them


class BounceSettings(_Section):
    """The listener for mail to bounce addresses: delivery status notifications and complaints."""

    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)  # None: no listener
    protocol: Literal["smtp", "lmtp"] = "smtp"  # lmtp: for a mail system that hands over what it has queued
    domain: str = "bounce.varsel.example"
    keys: tuple[SecretStr, ...] = ()  # VERP keys, newest first; empty: no VERP and no DSN intake


class ProviderSettings(_Section):
    """What every provider instance has, whatever its type: its place in the pool of its channel (channels 1.7, 1.9)."""

    type: str
    channel: Literal["email", "sms"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    enabled: bool = True
    group: int = Field(default=1, ge=1, le=99)  # the lowest group that has an instance ready gets the messages
    weight: int = Field(default=50, ge=0, le=100)  # its share within the group, at rest
    creators: Creators = ()  # whose messages it takes; none: everybody's
    countries: Words = ()  # SMS: calling codes it takes ("47"); none: all
    rate_per_second: float | None = Field(default=None, gt=0)  # of all workers together: emails, or parts of SMS
    burst: int | None = Field(default=None, ge=1)  # None: one second's worth
    per_hour: int | None = Field(default=None, ge=1)
    per_day: int | None = Field(default=None, ge=1)
    on_indeterminate: Literal["resend", "hold"] = "resend"

    def unfit_for_production(self) -> Sequence[str]:
        """What of this must not be in production, in words."""
        return ()

    def carries(self, text: str) -> bool:  # noqa: ARG002 - LINK's limit holds for everybody anyway
        """Whether it takes an SMS with this text, which is cleaned."""
        return True


class DkimSettings(_Section):
    """How mail from one domain is signed (channels 2.2)."""

    selector: str = Field(
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
    )
    key_file: Path  # private key in PEM: RSA of 2048 bits or more, or Ed25519


class SmtpProviderSettings(ProviderSettings):
    type: Literal["smtp"] = "smtp"
    channel: Literal["email"] = "email"
    host: str
    port: int
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    trusted_network: bool = False  # allows tls = "none" beyond loopback
    username: str | None = None
    password: SecretStr | None = None
    connections: int = Field(default=10, ge=1, le=100)
    success_dsn: bool = True
    verify_certificate: bool = True
    dkim: dict[str, DkimSettings] = {}  # by the domain of the sender, whose mail is then always signed
    relay_signs: bool = False  # the server signs what we send, list headers too

    def unfit_for_production(self) -> Sequence[str]:
        return () if self.verify_certificate else ("verify_certificate = false",)


class LinkProviderSettings(ProviderSettings):
    type: Literal["link"] = "link"
    channel: Literal["sms"] = "sms"
    url: str
    failover_url: str | None = None  # the gateway's other host, for while that one is down
    username: str
    password: SecretStr
    report_username: str
    report_password: SecretStr
    previous_report_password: SecretStr | None = None  # still accepted while the gateway changes to the new one
    connections: int = Field(default=10, ge=1, le=100)
    timeout: timedelta = timedelta(seconds=30)

    def unfit_for_production(self) -> Sequence[str]:
        default = self.report_password.get_secret_value() in DEFAULT_SECRETS
        return ("report_password is the default",) if default else ()


PROVIDER_TYPES: Final = {
    "smtp": "varsel.providers.smtp",
    "acs": "varsel.providers.acs",
    "ses": "varsel.providers.ses",
    "link": "varsel.providers.link",
    "twilio": "varsel.providers.twilio",
    "webhook": "varsel.providers.webhook",
    "smpp": "varsel.providers.smpp",
    "captured": "varsel.providers.captured",
    "apprise": "varsel.providers.apprise",
}
"""Type of a provider → the module whose `PROVIDER` makes it. Others come by the entry points `varsel.providers`."""


def provider_module(type_: str) -> str:
    """Raises `ValueError` for a type that nobody makes."""
    if module := PROVIDER_TYPES.get(type_):
        return module
    others = {point.name: point.value for point in entry_points(group="varsel.providers")}
    if module := others.get(type_):
        return module
    raise ValueError(f"there is no provider type {type_!r}; there are: {', '.join(sorted({*PROVIDER_TYPES, *others}))}")


def _of_its_type(value: object) -> object:
    """The settings of a provider are checked by its own type, which is loaded only when it is used."""
    if isinstance(value, ProviderSettings) or not isinstance(value, Mapping):
        return value
    module = import_module(provider_module(str(value.get("type"))))
    settings: type[ProviderSettings] = module.PROVIDER.settings
    try:
        return settings.model_validate(value)
    except ValidationError as error:  # its own text would show the values, secrets among them
        told = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'provider'}: {e['msg']}" for e in error.errors())
        raise ValueError(f"{value.get('name', 'provider without a name')}: {told}") from None


AnyProvider = Annotated[SerializeAsAny[ProviderSettings], BeforeValidator(_of_its_type)]


class PagesSettings(_Section):
    """The pages for people, under /ui. They sign in by OpenID Connect, or with a link of `varsel sign-in`."""

    enabled: bool = True
    issuer: SafeUrl | None = None  # of the identity provider
    client_id: str = ""
    client_secret: SecretStr | None = None
    scopes: Words = ("openid", "profile")
    role_claim: str = "roles"
    roles: dict[Literal["viewer", "caseworker", "operator", "creator-admin"], Words] = {}  # the claim's values for each
    creator_claim: str = "creator"  # of a creator-admin
    session_lifetime: timedelta = timedelta(hours=12)
    idle_time: timedelta = timedelta(hours=1)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.issuer and not (self.client_id and self.roles):
            raise ValueError("pages.issuer needs pages.client_id and pages.roles")
        return self


class SandboxSettings(_Section):
    enabled: bool = False


class Settings(_Section):
    environment: Literal["development", "production"] = "development"
    database_url: SecretStr | None = None  # None: the embedded server of the home
    home: Path | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    auth: AuthSettings = AuthSettings()
    senders: SenderSettings = SenderSettings()
    processing: ProcessingSettings = ProcessingSettings()
    registry: RegistrySettings = RegistrySettings()
    altinn: AltinnSettings = AltinnSettings()
    profile: ProfileSettings = ProfileSettings()
    feed: FeedSettings = FeedSettings()
    webhooks: WebhookSettings = WebhookSettings()
    delivery: DeliverySettings = DeliverySettings()
    suppression: SuppressionSettings = SuppressionSettings()
    content: ContentSettings = ContentSettings()
    quotas: QuotaSettings = QuotaSettings()
    composed: ComposedSettings = ComposedSettings()
    bulk: BulkSettings = BulkSettings()
    prices: PriceSettings = PriceSettings()
    operations: OperationsSettings = OperationsSettings()
    bounces: BounceSettings = BounceSettings()
    providers: tuple[AnyProvider, ...] = ()
    pages: PagesSettings = PagesSettings()
    sandbox: SandboxSettings = SandboxSettings()

    @model_validator(mode="after")
    def _fit_for_production(self) -> "Settings":
        """Production runs without the sandbox, the development issuer, and connections that prove nothing."""
        forbidden = {
            "sandbox.enabled": self.sandbox.enabled,
            "auth.development_issuer": self.auth.development_issuer,
            "composed.loopback_http": self.composed.loopback_http,
            "registry.authz_provider = allow-all": self.registry.authz_provider == "allow-all",
            "webhooks.loopback_http": self.webhooks.loopback_http,
            **{f"providers: {p.name}: {word}": True for p in self.providers for word in p.unfit_for_production()},
        }
        found = [name for name, used in forbidden.items() if used]
        if self.environment == "production" and found:
            raise ValueError(f"not in production: {', '.join(found)}")
        return self

    @model_validator(mode="after")
    def _providers_have_names_of_their_own(self) -> Self:
        names = [provider.name.lower() for provider in self.providers]  # paths know no letter case
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"providers: several have the same name: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _complete_for_feeds(self) -> Self:
        registry = self.registry
        if self.sandbox.enabled:  # `varsel up` fills in where its simulators are
            return self
        krr = registry.krr_sync_enabled or registry.person_provider == "krr-direct"
        scopes = registry.maskinporten_scope_business, self.processing.condition_scope
        maskinporten = krr or any(scopes) or registry.maskinporten_token_url is not None
        needed = {
            "krr_changes_url": registry.krr_sync_enabled,
            "krr_lookup_url": registry.person_provider == "krr-direct",
            "business_feed_url": registry.business_sync_enabled,
            "business_reception_url": registry.business_write_mode == "upstream",
            "maskinporten_issuer": maskinporten,
            "maskinporten_token_url": maskinporten,
            "maskinporten_client_id": maskinporten,
            "maskinporten_jwk": maskinporten,
        }
        if missing := [f"registry.{name}" for name, used in needed.items() if used and getattr(registry, name) is None]:
            raise ValueError(f"a register or a token is switched on that needs these too: {', '.join(missing)}")
        return self

    @model_validator(mode="after")
    def _complete_for_altinn(self) -> Self:
        registry, altinn = self.registry, self.altinn
        if self.sandbox.enabled:  # `varsel up` fills in where its simulators are
            return self
        profile = (
            registry.person_provider,
            registry.org_provider,
            registry.external_provider,
            registry.user_provider,
        )
        authorization = registry.authz_provider == "altinn"
        register = authorization or "altinn" in (registry.name_provider, registry.main_unit_provider)
        needed = {
            "profile_url": "altinn" in profile,
            "register_url": register,
            "platform_token_key": register and altinn.exchange_url is None,
            "authorization_url": authorization,
            "subscription_key": authorization,
        }
        if missing := [f"altinn.{name}" for name, used in needed.items() if used and getattr(altinn, name) is None]:
            raise ValueError(f"registry asks Altinn, which needs these too: {', '.join(missing)}")
        if altinn.exchange_url and registry.maskinporten_token_url is None:
            raise ValueError("altinn.exchange_url needs registry.maskinporten_token_url and what belongs to it")
        return self


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings. Raises `pydantic.ValidationError` naming each wrong one, `OSError` for an unreadable file."""
    values: dict[str, Any] = {}
    if path := environ.get(f"{_PREFIX}CONFIG"):
        values = tomllib.loads(Path(path).read_text())
    for key, value in environ.items():
        if key.startswith(_PREFIX) and key != f"{_PREFIX}CONFIG":
            section, _, name = key[len(_PREFIX) :].lower().partition("__")
            if name:
                values.setdefault(section, {})[name] = value
            elif section in Settings.model_fields:
                values[section] = value
    return Settings.model_validate(values)
