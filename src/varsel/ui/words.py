"""What pages say, in bokmål and English: texts by key, times, numbers, addresses (the copy guide of the pages)."""

import tomllib
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any, Final
from zoneinfo import ZoneInfo

_OSLO: Final = ZoneInfo("Europe/Oslo")
_NARROW_BLANK: Final = "\u202f"  # between thousands in Norwegian


class Language(StrEnum):
    NB = "nb"
    EN = "en"

    @property
    def other(self) -> "Language":
        return Language.EN if self is Language.NB else Language.NB


@cache
def texts(language: Language) -> Mapping[str, str]:
    """All texts of a language, by dotted key: those of `nb.toml`, `nb.orders.toml` and so on."""
    files = [f for f in resources.files("varsel.ui.texts").iterdir() if f.name.startswith(f"{language}.")]
    sources = [file.read_text(encoding="utf-8") for file in sorted(files, key=lambda file: file.name)]
    return {key: text for source in sources for key, text in _flat(tomllib.loads(source))}


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for key, value in table.items():
        pairs += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return pairs


class Words:
    """Everything that is written differently in the two languages. `now` is business time."""

    def __init__(self, language: Language, now: datetime) -> None:
        self.language = language
        self._texts = texts(language)
        self._now = now.astimezone(_OSLO)

    def say(self, key: str, **values: object) -> str:
        """The text under `key`; with a number `n`, the one for one or for several."""
        n = values.get("n")
        if isinstance(n, int) and f"{key}_other" in self._texts:
            key = f"{key}_one" if n == 1 else f"{key}_other"
            values["n"] = self.number(n)
        return self._texts[key].format(**values)

    def number(self, n: int) -> str:
        return f"{n:,}".replace(",", _NARROW_BLANK) if self.language is Language.NB else f"{n:,}"

    def share(self, value: float) -> str:
        """In per cent with a tenth: all or nothing is said of all or nothing alone."""
        tenths = min(max(round(value * 1000), 1), 999) if 0 < value < 1 else round(value * 1000)
        text = f"{tenths // 10}" if tenths % 1000 == 0 else f"{tenths / 10:.1f}"
        return self.say("now.share", value=text.replace(".", ",") if self.language is Language.NB else text)

    def amount(self, value: Decimal) -> str:
        """Of money, with hundredths: `0,37`."""
        said = f"{value:,.2f}"
        if self.language is Language.NB:
            return said.replace(",", _NARROW_BLANK).replace(".", ",")
        return said

    def time(self, key: str, at: datetime) -> str:
        """An instant in Norwegian time, in the form `time.<key>`; its own form for today when there is one."""
        local = at.astimezone(_OSLO)
        if local.date() == self._now.date() and f"time.{key}_today" in self._texts:
            key = f"{key}_today"
        names = {name: self._texts[f"time.{name}s"].split() for name in ("month", "short_month", "day")}
        month, short_month = names["month"][local.month - 1], names["short_month"][local.month - 1]
        return self.say(f"time.{key}", at=local, month=month, short=short_month, day=names["day"][local.weekday()])

    def span(self, length: timedelta) -> str:
        """The two largest units of a length of time: `1 dag og 3 timer`."""
        minutes = round(length.total_seconds() / 60)
        units = {"days": minutes // 1440, "hours": minutes // 60 % 24, "minutes": minutes % 60}
        said = [self.say(f"clock.{unit}", n=n) for unit, n in units.items() if n][:2] or [
            self.say("clock.minutes", n=0)
        ]
        return said[0] if len(said) == 1 else self.say("clock.and", a=said[0], b=said[1])


def negotiate(accept_language: str) -> Language:
    """The language that a browser asks for most; bokmål when it asks for neither."""
    wanted: list[tuple[float, Language]] = []
    for item in accept_language.split(","):
        tag, _, parameter = item.strip().lower().partition(";")
        language = {"nb": Language.NB, "no": Language.NB, "nn": Language.NB, "en": Language.EN}.get(tag[:2])
        if language:
            wanted.append((_quality(parameter), language))
    return max(wanted, key=lambda w: w[0], default=(1.0, Language.NB))[1]


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def pretty_number(number: str) -> str:
    """`+47 400 00 417`; numbers of other countries as they are."""
    digits = number.removeprefix("+47")
    if number.startswith("+47") and len(digits) == 8 and digits.isdigit():
        return f"+47 {digits[:3]} {digits[3:5]} {digits[5:]}"
    return number


def pretty_identity(key: str) -> str:
    """`148385 10036` and `310 001 007`: as people read them out."""
    match len(key):
        case 11:
            return f"{key[:6]} {key[6:]}"
        case 9:
            return f"{key[:3]} {key[3:6]} {key[6:]}"
        case _:
            return key
