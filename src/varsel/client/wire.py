"""Our values as the API writes them, and back: `senders_reference` is `sendersReference`, and None is absent."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, TypeVar, Union, cast, get_args, get_origin, get_type_hints
from uuid import UUID

T = TypeVar("T")

_UNIONS: Final = (Union, types.UnionType)
_ABSENT: Final = object()


class Unreadable(ValueError):
    """What came is not what the API promises. Names the place, never the value, which may be an address."""


def encode(value: object) -> Any:  # noqa: PLR0911 - one for each kind of value
    """For `json.dumps`. Raises `ValueError` for an instant without a zone, which would be anybody's guess."""
    match value:
        case Mapping():
            return {name: encode(each) for name, each in value.items()}
        case list() | tuple():
            return [encode(each) for each in value]
        case datetime():
            if value.tzinfo is None:
                raise ValueError("a time needs a zone: datetime.now(UTC), say")
            return value.isoformat()
        case timedelta():
            return f"PT{value.total_seconds():f}".rstrip("0").rstrip(".") + "S"
        case UUID():
            return str(value)
        case _ if is_dataclass(value):
            return properties(value)
        case _:
            return value


def properties(value: object) -> dict[str, Any]:
    """The fields of a dataclass that are not None, by their names in the API."""
    given = ((field.name, getattr(value, field.name)) for field in fields(value))  # type: ignore[arg-type]  # asked before
    return {_camel(name): encode(each) for name, each in given if each is not None}


def decode(kind: type[T], value: object, where: str = "$") -> T:
    """A dataclass of the API's answer. Properties that it does not know stay in its field `raw`, if it has one.

    Raises `Unreadable`.
    """
    return cast(T, _decoded(kind, value, where))


def _decoded(kind: Any, value: object, where: str) -> object:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in _UNIONS:  # only ever `X | None`
        return None if value is None else _decoded(inner[0], value, where)
    if origin is tuple:
        listed = _checked(list, value, where)
        return tuple(_decoded(inner[0], each, f"{where}[{at}]") for at, each in enumerate(listed))
    if origin is not None:  # a mapping
        named = _checked(dict, value, where)
        return {name: _decoded(inner[1], each, f"{where}.{name}") for name, each in named.items()}
    if is_dataclass(kind):
        return _object(kind, _checked(dict, value, where), where)
    if kind in (datetime, UUID):
        return _read(datetime.fromisoformat if kind is datetime else UUID, _checked(str, value, where), where)
    return value if kind is Any else _checked((int, float) if kind is float else kind, value, where)


def _object(kind: Any, value: Mapping[str, object], where: str) -> object:
    given: dict[str, object] = {}
    for name, (property_, hint) in _hints(kind).items():
        found = value if name == "raw" else value.get(property_, _ABSENT)
        if found is not _ABSENT:
            given[name] = _decoded(hint, found, f"{where}.{property_}")
    try:
        return kind(**given)
    except TypeError:
        raise Unreadable(f"{where}: a property is missing") from None


@lru_cache(maxsize=100)
def _hints(kind: Any) -> dict[str, tuple[str, Any]]:
    hints = get_type_hints(kind)
    return {field.name: (_camel(field.name), hints[field.name]) for field in fields(kind)}


def _checked(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, kind):
        raise Unreadable(f"{where}: another kind of value was expected")
    return value


def _read(read: Any, text: str, where: str) -> object:
    try:
        return read(text)
    except ValueError:
        raise Unreadable(f"{where}: another form was expected") from None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)
