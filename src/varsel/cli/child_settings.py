"""The settings that `varsel up` hands to its children: one generated file in the home, for its owner alone."""

import base64
import json
import os
import re
import secrets
import tomllib
from pathlib import Path
from typing import Any, Final

from joserfc.jwk import RSAKey

from varsel.cli.startup import free_port, home_of, load_settings
from varsel.embedded.place import running_address, running_dsn, write_private
from varsel.settings import Settings

UP_FILE: Final = "up.toml"
_LOOPBACK: Final = "127.0.0.1"
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEADING: Final = (
    "# Written by `varsel up` at every start: changes are lost. Put yours in a file that VARSEL_CONFIG names.\n"
)


def settings_of_running(home: Path | None) -> Settings:
    """Beside a running `varsel up` its own, too: it alone knows where the sandbox's registers are."""
    settings = load_settings({"VARSEL_HOME": home})
    file = home_of(settings) / UP_FILE
    if settings.database_url or not (_is_running(home_of(settings)) and file.exists()):
        return settings
    return load_settings({"VARSEL_HOME": home, "VARSEL_CONFIG": file})


def _is_running(home: Path) -> bool:
    """Whether a `varsel up` of this home has brought up its database, or uses another."""
    return bool(running_dsn(home) or running_address(home))


def write_settings(home: Path, values: dict[str, Any]) -> Path:
    """Write the file for the children: what VARSEL_CONFIG names now, and these values over it. Returns its path."""
    merged = dict(tomllib.loads(Path(named).read_text())) if (named := os.environ.get("VARSEL_CONFIG")) else {}
    for name, value in values.items():
        merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) else value
    file = home / UP_FILE
    write_private(file, _HEADING + toml(merged))
    return file


def sandbox_values(home: Path, *, altinn: bool = False, feeds: bool = False) -> dict[str, Any]:
    """Settings of the sandbox (design 8): simulators on free ports of loopback, and short waits.

    `altinn`: some register is to be asked there, so that those are simulated too; `feeds`: KRR, or the register of
    businesses' addresses, is to be asked, followed or told of changes.
    """
    kept = _kept_secrets(home / "sandbox.json")
    mail, gateway, bounces = (free_port(_LOOPBACK) for _ in range(3))
    return {
        **({"altinn": _altinn_values()} if altinn else {}),
        **({"registry": _feed_values()} if feeds else {}),
        "sandbox": {"enabled": True},
        "server": {"max_reports_per_second": 10_000},  # one gateway for all that is tried here
        "auth": {"development_issuer": True},
        "processing": {"sms_window_always_open": True},
        "delivery": {"settle_email_after": 5, "unknown_wait": 5},
        "composed": {"loopback_http": True},
        "webhooks": {"loopback_http": True},
        "bounces": {"port": bounces, "keys": [kept["verp_key"]]},
        "providers": [
            {
                "type": "smtp",
                "name": "sandbox-mail",
                "host": _LOOPBACK,
                "port": mail,
                "tls": "none",
                "relay_signs": True,  # as one could
            },
            {
                "type": "link",
                "name": "sandbox-sms",
                "url": f"http://{_LOOPBACK}:{gateway}/",
                "username": "sandbox",
                "password": kept["gateway_password"],
                "report_username": "sandbox",
                "report_password": kept["report_password"],
            },
        ],
    }


def _altinn_values() -> dict[str, str]:
    """New keys at each start: nobody but the simulators knows them."""
    profile, register, authorization = (free_port(_LOOPBACK) for _ in range(3))
    return {
        "profile_url": f"http://{_LOOPBACK}:{profile}/profile/api/v1/",
        "register_url": f"http://{_LOOPBACK}:{register}/register/api/v1/",
        "authorization_url": f"http://{_LOOPBACK}:{authorization}/authorization/api/v1/",
        "subscription_key": secrets.token_urlsafe(24),
        "platform_token_key": RSAKey.generate_key(2048).as_pem(private=True).decode(),
    }


def _feed_values() -> dict[str, Any]:
    """New keys at each start here too; feeds are read often enough to be watched."""
    krr, business, maskinporten = (f"http://{_LOOPBACK}:{free_port(_LOOPBACK)}" for _ in range(3))
    key = RSAKey.generate_key(2048, auto_kid=True).as_dict(private=True)
    return {
        "krr_changes_url": f"{krr}/rest/v2/krr/hentEndringer",
        "krr_lookup_url": f"{krr}/rest/v2/personer",
        "krr_sync_interval": 30,
        "business_feed_url": f"{business}/varslingsadresser/fragments/json/v1",
        "business_reception_url": f"{business}/",
        "business_sync_interval": 30,
        "maskinporten_issuer": f"{maskinporten}/",
        "maskinporten_token_url": f"{maskinporten}/token",
        "maskinporten_client_id": "sandbox",
        "maskinporten_jwk": base64.b64encode(json.dumps(key).encode()).decode(),
    }


def _kept_secrets(file: Path) -> dict[str, str]:
    """Made once for each home: bounces and delivery reports of yesterday are still recognised today."""
    if not file.exists():
        names = ("verp_key", "gateway_password", "report_password")
        write_private(file, json.dumps({name: secrets.token_urlsafe(24) for name in names}))
    kept: dict[str, str] = json.loads(file.read_text())
    return kept


def toml(values: dict[str, Any]) -> str:
    """Settings as TOML, one line for each name or, in tables, for each section."""
    plain = [f"{_key(name)} = {_value(value)}" for name, value in values.items() if not isinstance(value, dict)]
    tables = [
        "\n".join([f"\n[{_key(name)}]", *(f"{_key(key)} = {_value(value)}" for key, value in section.items())])
        for name, section in values.items()
        if isinstance(section, dict)
    ]
    return "\n".join([*plain, *tables]) + "\n"


def _value(value: object) -> str:
    match value:
        case list() | tuple():
            return f"[{', '.join(_value(member) for member in value)}]"
        case dict():
            return f"{{{', '.join(f'{_key(key)} = {_value(member)}' for key, member in value.items())}}}"
        case str() | bool() | int() | float():
            return _scalar(value)
        case _:
            raise TypeError(f"no setting is a {type(value).__name__}")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _scalar(name)


def _scalar(value: str | bool | float) -> str:
    """JSON's strings, numbers and booleans are TOML's, but for the one control character that JSON leaves as it is."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
