"""Types of JSON properties: texts, date-times, enums and numbers as the contract reads them (http-api 4)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, TypeGuard

from pydantic import GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from varsel.api.bodies import Findings

_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,16})?)?(Z|[+-][0-9]{2}:[0-9]{2})?"
)

ANY_TEXT: Final = r"^[^\x00]*$"
NOT_BLANK: Final = r"^[^\x00]*[^\s\x00][^\x00]*$"
Text = Annotated[str, StringConstraints(pattern=ANY_TEXT)]
"""Any text without NUL, which the database cannot hold."""

RequiredText = Annotated[str, StringConstraints(pattern=NOT_BLANK)]
"""Text that says something: not empty, not only blanks."""


@dataclass(frozen=True)
class _Instant:
    """Reads the contract's date-times (http-api 4). Without a zone the value is naive, which stage 2 refuses."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_read_instant)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


ContractInstant = Annotated[datetime, _Instant()]
OptionalInstant = Annotated[datetime | None, _Instant()]
"""May be absent (the default then is None), but not null."""


def _read_instant(value: object) -> datetime:
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        try:
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is None:
                return instant
            utc = instant.astimezone(UTC)
            if utc.year <= 9998:  # room for every sum (design 8)
                return utc
        except (ValueError, OverflowError):
            pass
    raise PydanticCustomError("instant", "The value must be a date-time like 2030-01-31T12:00:00Z.")


@dataclass(frozen=True)
class OneOf:
    """Reads an enum by name, in any case, or by number. The first member's number is `first` (http-api 8.1)."""

    enum: type[StrEnum]
    first: int = 0

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        by_name = {member.lower(): member for member in self.enum}
        by_number = dict(enumerate(self.enum, self.first))
        names = ", ".join(self.enum)

        def read(value: object) -> StrEnum:
            member = None
            if isinstance(value, str):
                member = by_name.get(value.lower())
            elif is_whole(value):
                member = by_number.get(int(value))
            if member is None:
                raise PydanticCustomError("choice", "The value must be one of {names}.", {"names": names})
            return member

        return core_schema.no_info_plain_validator_function(read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        numbers = list(range(self.first, self.first + len(self.enum)))
        return {"anyOf": [{"type": "string", "enum": list(self.enum)}, {"type": "integer", "enum": numbers}]}


@dataclass(frozen=True)
class _Integer:
    """Reads a JSON integer, or a string that holds one (http-api 4). At most 64 bits."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_read_integer)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": _NUMBER.pattern}]}


def is_whole(value: object) -> TypeGuard[float]:
    """Whether a JSON number is whole; `2.0` is. True is no number."""
    return type(value) is int or (type(value) is float and value.is_integer())


Integer = Annotated[int, _Integer()]
MAX_INTEGER: Final = 10**18 - 1
_NUMBER: Final = re.compile(r"^-?[0-9]{1,18}$")


def _read_integer(value: object) -> int:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    if is_whole(value) and abs(value) <= MAX_INTEGER:
        return int(value)
    raise PydanticCustomError("integer", "The value must be an integer.")


@dataclass(frozen=True)
class _Duration:
    """Reads an ISO 8601 duration of weeks, days, hours, minutes and seconds.

    Each has one length everywhere: a day is 24 hours. Years and months have none, and are refused.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(_read_duration)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "format": "duration", "examples": ["P3DT4H"]}


Duration = Annotated[timedelta, _Duration()]
_DURATION: Final = re.compile(
    r"P(?=.)(?:([0-9]{1,6})W)?(?:([0-9]{1,7})D)?(?:T(?=.)(?:([0-9]{1,9})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,9})S)?)?"
)


def _read_duration(value: object) -> timedelta:
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    raise PydanticCustomError("duration", "The value must be a duration of weeks, days and times, like P3DT4H.")


def check_time(value: datetime | None, earliest: datetime, path: str, findings: Findings) -> None:
    """The time rules of http-api 7.5. Absent always passes."""
    if value is None:
        return
    name = path.rpartition(".")[2]
    if value.tzinfo is None:
        findings.add(path, f"{name} must have a time zone: Z, or an offset like +02:00.")
    elif value < earliest:
        findings.add(path, f"{name} lies in the past.")
