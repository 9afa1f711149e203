"""What `varsel doctor` sees without a database: the settings, and the files and the disk of this machine."""

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr, ValidationError

from varsel import settings as files
from varsel.cli.child_settings import UP_FILE
from varsel.cli.doctor_findings import Finding, attention, note, ok
from varsel.cli.startup import SUPPRESSION_KEY, home_of, is_loopback
from varsel.settings import Settings, SmtpProviderSettings

_SECRETS: Final = ("database.dsn", "database.password", SUPPRESSION_KEY, UP_FILE, "sandbox.json", "issuer/keys.json")
_OTHERS: Final = stat.S_IRWXO
_NOT_ITS_OWNER: Final = stat.S_IRWXG | stat.S_IRWXO
_GIGABYTE: Final = 10**9


def examine_machine(settings: Settings) -> Iterator[Finding]:
    home = home_of(settings)
    yield from _settings(settings)
    yield from _suppression_key(settings, home / SUPPRESSION_KEY)
    yield from _secret_files(settings, home)
    yield from _disks(home)


def _settings(settings: Settings) -> Iterator[Finding]:
    production = settings.environment == "production"
    yield (ok if production else note)("settings", f"they are in order; the environment is {settings.environment}")
    if not (settings.auth.issuers or settings.auth.development_issuer):
        says = "no token is accepted: there is no issuer"
        yield (attention if production else note)("settings", says, "set auth.issuers")
    if production and is_loopback(urlsplit(settings.server.base_url).hostname or ""):
        says = f"links in answers and messages lead to {settings.server.base_url}, which is this machine alone"
        yield attention("settings", says, "set server.base_url to what clients see")
    enabled = {provider.channel for provider in settings.providers if provider.enabled}
    if missing := {"email", "sms"} - enabled:
        says = f"no provider sends {' or '.join(sorted(missing))}: such messages wait until they expire"
        yield note("settings", says, "add one to `providers`, if they are ordered")


def _suppression_key(settings: Settings, file: Path) -> Iterator[Finding]:
    given = settings.suppression.key
    try:
        kept = file.read_text() if file.exists() else None
    except OSError as e:
        yield attention("suppression key", f"{file} cannot be read: {e.strerror}", "run this as the service's user")
        return
    if given and kept and given.get_secret_value() != kept:
        says = f"the settings have another key than {file}: what was suppressed under that one is not found"
        yield attention("suppression key", says, "set suppression.key to the text of the file, or remove the file")
    elif given or (kept and settings.environment != "production"):
        yield ok("suppression key", "it is in the settings" if given else f"it is in {file}")
    elif settings.environment == "production":
        says = "production needs suppression.key: no process starts without it"
        yield attention("suppression key", says, "set a long random text, the same for all processes, for ever")
    else:
        yield note("suppression key", "the first process that starts makes one in the home")


def _secret_files(settings: Settings, home: Path) -> Iterator[Finding]:
    """Files that we made are their owner's alone; those that somebody wrote may be a group's."""
    ours = [(home / name, _NOT_ITS_OWNER) for name in _SECRETS]
    keys = [
        dkim.key_file for p in settings.providers if isinstance(p, SmtpProviderSettings) for dkim in p.dkim.values()
    ]
    if certificate := settings.registry.business_client_certificate:
        keys.append(certificate)
    if (config := os.environ.get("VARSEL_CONFIG")) and _holds_a_secret(Path(config)):
        keys.append(Path(config))
    found = list(_open_files([*ours, *((key, _OTHERS) for key in keys)]))
    yield from found or [ok("secret files", "nobody else may read them")]


def _open_files(wanted: list[tuple[Path, int]]) -> Iterator[Finding]:
    for file, forbidden in wanted:
        try:
            mode = file.stat().st_mode
        except FileNotFoundError:
            continue
        except OSError as e:
            yield attention("secret files", f"{file}: {e.strerror}", "run this as the service's user")
            continue
        if mode & forbidden:
            right = "go-rwx" if forbidden == _NOT_ITS_OWNER else "o-rwx"
            says = f"others on this machine may read or change {file} (mode {stat.S_IMODE(mode):04o})"
            yield attention("secret files", says, f"chmod {right} {file}")


def _holds_a_secret(config: Path) -> bool:
    """Whether one stands in the file; also when it says too little to be understood alone."""
    try:
        return _has_secret(files.load({"VARSEL_CONFIG": str(config)}))
    except ValidationError:
        return True


def _has_secret(value: object) -> bool:
    match value:
        case SecretStr():
            return bool(value.get_secret_value())
        case BaseModel():
            return any(_has_secret(getattr(value, name)) for name in type(value).model_fields)
        case Mapping():
            return any(map(_has_secret, value.values()))
        case tuple():
            return any(map(_has_secret, value))
        case _:
            return False


def _disks(home: Path) -> Iterator[Finding]:
    """Of the home, and of its cluster where that lies elsewhere."""
    places = [home]
    try:
        if (elsewhere := home / "database.folder").exists():
            places.append(Path(elsewhere.read_text().strip()))
        disks = {place.stat().st_dev: place for place in reversed(places) if place.exists()}
    except OSError as e:
        yield attention("disk", f"{home}: {e.strerror}", "run this as the service's user")
        return
    for place in disks.values():
        usage = shutil.disk_usage(place)
        yield room_of(place, usage.total, usage.free)


def room_of(place: Path, total: int, free: int) -> Finding:
    """`total` and `free` in bytes. A big disk may be fuller than a small one."""
    says = f"{free / _GIGABYTE:,.1f} of {total / _GIGABYTE:,.1f} GB are free at {place}"
    if free < max(_GIGABYTE, min(total // 20, 10 * _GIGABYTE)):
        return attention("disk", says, "make room: orders are answered 503 when it is full")
    return ok("disk", says)
