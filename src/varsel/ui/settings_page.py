"""The page of settings: what holds, and where it comes from. Secrets are never shown.

What a setting means is said in `settings.toml`, which `make docs` writes from the operations page.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.settings import ProviderSettings
from varsel.ui.access import Role, Who
from varsel.ui.parts import UiParts

PATH: Final = "/ui/ops/settings"

_MOST_SHOWN: Final = 2_000  # characters of a value


@dataclass(frozen=True, slots=True)
class Row:
    """A setting. `source`: default, variable or file. `secret`: it is one; `value` then says whether it is set."""

    name: str
    value: str
    source: str
    secret: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    rows: tuple[Row, ...]


class SettingsPage:
    """The page. What holds does not change while the process lives."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        self._sections = tuple(_sections(parts.settings, parts.variables))

    def routes(self) -> list[BaseRoute]:
        return [self._parts.access.page(PATH, self.show, Role.OPERATOR)]

    async def show(self, request: Request, who: Who) -> Response:
        query = request.query_params
        sought, chosen = query.get("q", "").strip().casefold()[:100], query.get("only") == "chosen"
        sections = [
            Section(section.name, rows)
            for section in self._sections
            if (rows := tuple(row for row in section.rows if _wanted(row, sought, chosen)))
        ]
        return self._parts.pages.render(
            request,
            "settings.html",
            now=self._parts.clock.now(),
            who=who,
            sections=sections,
            chosen=chosen,
            sought=query.get("q", "").strip()[:100],
            changed=sum(row.source != "default" for section in self._sections for row in section.rows),
            environment=self._parts.settings.environment,
            path=PATH,
        )


def _wanted(row: Row, sought: str, chosen: bool) -> bool:
    return (not chosen or row.source != "default") and (sought in row.name or sought in row.meaning.casefold())


def _sections(settings: BaseModel, variables: frozenset[str]) -> Iterator[Section]:
    plain, parts = [], []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            parts.append(Section(name, tuple(_rows(value, field.get_default(), f"{name}.", variables))))
        elif name == "providers":
            parts += [_provider(provider) for provider in value]
        else:
            plain.append(_row(name, name, field, value, field.get_default(), variables))
    yield Section("", tuple(plain))
    yield from parts


def _provider(provider: ProviderSettings) -> Section:
    own = type(provider).model_fields.keys() - ProviderSettings.model_fields.keys()
    rows = []
    for name, field in type(provider).model_fields.items():
        known = f"{provider.type}.{name}" if name in own else f"provider.{name}"
        rows.append(_row(name, known, field, getattr(provider, name), field.get_default(), frozenset()))
    return Section(f"providers: {provider.name}", tuple(rows))


def _rows(section: BaseModel, usual: BaseModel, prefix: str, variables: frozenset[str]) -> Iterator[Row]:
    """`usual`: the section as it is when nothing is set."""
    for name, field in type(section).model_fields.items():
        value, default = getattr(section, name), getattr(usual, name)
        if isinstance(value, BaseModel):
            yield from _rows(value, default, f"{prefix}{name}.", variables)
        else:
            yield _row(f"{prefix}{name}", f"{prefix}{name}", field, value, default, variables)


def _row(name: str, known: str, field: FieldInfo, value: object, default: object, variables: frozenset[str]) -> Row:
    variable = "VARSEL_" + name.upper().replace(".", "__")
    source = "variable" if variable in variables else "default" if value == default else "file"
    secret = "SecretStr" in str(field.annotation) or isinstance(value, SecretStr)
    return Row(name, _shown(value), source, secret, meanings().get(known, ""))


def _shown(value: object) -> str:
    """As it would be written in the file, without secrets."""
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, SecretStr):
        return "•••••" if value.get_secret_value() else ""
    plain = _harmless(_Anything(value=value).model_dump(mode="json")["value"])
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


class _Anything(BaseModel):
    value: Any


def _harmless(value: object) -> object:
    """Addresses without what stands in them for a password or a key."""
    match value:
        case str() if "://" in value:
            return _without_keys(value)
        case list():
            return [_harmless(each) for each in value]
        case dict():
            return {name: _harmless(each) for name, each in value.items()}
        case _:
            return value


def _without_keys(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return "•••••"
    return urlunsplit((parts.scheme, host, parts.path, "•••••" if parts.query else "", ""))


@cache
def meanings() -> Mapping[str, str]:
    """What each setting means, by its name on the operations page."""
    text = resources.files("varsel.ui").joinpath("settings.toml").read_text(encoding="utf-8")
    return {name: str(meaning) for name, meaning in tomllib.loads(text).items()}
