"""JSON bodies, from bytes to checked values (http-api 4-6, design 8 "Bodies").

Names are folded to the contract's spelling before validation, for a `RequestedSendTime` that was dropped would send at
once. Stage 1 (syntax, types, required properties) is Pydantic's; stage 2 (`Body.check`) is ours and runs only after it.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Final, TypeVar, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, from_json

from varsel.api.problems import MAX_ERRORS, Invalid
from varsel.domain.content import Content
from varsel.domain.schemes import NORWEGIAN, Identifiers

CHUNK: Final = 1_000
"""Elements of a long list that are handled before other requests get their turn."""

_ANY_CONTENT: Final = Content()
_BOM: Final = b"\xef\xbb\xbf"
_names: Final[dict[str, str]] = {}  # property name, as written and in lower case → as the contract writes it


class Findings:
    """Broken rules, by the path of the property. `identifiers`: those that are taken here. `content`: the caller's.

    `warnings` break no rule: the answer tells them.
    """

    def __init__(self, identifiers: Identifiers = NORWEGIAN, content: Content = _ANY_CONTENT) -> None:
        self.identifiers = identifiers
        self.content = content
        self.errors: dict[str, list[str]] = {}
        self.warnings: dict[str, list[str]] = {}

    def add(self, path: str, message: str) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.setdefault(path, []).append(message)

    def warn(self, path: str, message: str) -> None:
        if len(self.warnings) < MAX_ERRORS:
            self.warnings.setdefault(path, []).append(message)


class Body(BaseModel):
    """A JSON object of a request. Unknown properties are ignored, types are strict, null only where declared."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", alias_generator=to_camel)

    long_lists: ClassVar[Mapping[str, "TypeAdapter[list[Any]]"]] = {}
    """Properties of the top level that may hold very many elements."""
    as_sent: ClassVar[frozenset[str]] = frozenset()
    """Properties of the top level in which names are no words of the contract, and stay as they are."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for field in cls.model_fields.values():
            name = cast("str", field.alias)
            known = _names.setdefault(name.lower(), name)
            assert known == name, f"{name} and {known} differ only in case"
            _names[name] = name

    def canonical(self, *without: str) -> bytes:
        """The checked body in one form, whatever the case, order and spelling of what was sent.

        A property that says what its absence says is left out; `without` names more to leave out.
        """
        return self.model_dump_json(exclude_defaults=True, exclude=set(without)).encode()

    async def check(self, now: datetime, findings: Findings) -> None:
        """Stage 2: add every rule that is broken. `now` is when the request arrived."""


B = TypeVar("B", bound=Body)


async def parse(model: type[B], data: bytes | bytearray, now: datetime, findings: Findings | None = None) -> B:
    """A checked body, or `Invalid` with all errors of the first stage that has any. `findings`: where these come."""
    body = await _validated(model, data)
    findings = findings or Findings()
    await body.check(now, findings)
    if findings.errors:
        raise Invalid(findings.errors)
    return body


async def in_chunks(items: Sequence[Any], handle: Callable[[int, Sequence[Any]], None]) -> None:
    """Call `handle(first index, items)` for each `CHUNK` of items, and let other requests run between."""
    for start in range(0, len(items), CHUNK):
        if start:
            await asyncio.sleep(0)
        handle(start, items[start : start + CHUNK])


async def _validated(model: type[B], data: bytes | bytearray) -> B:
    try:
        value = from_json(data.removeprefix(_BOM), allow_inf_nan=False)
    except ValueError as e:
        raise Invalid({"$": [f"The body is not valid JSON: {e}."]}) from None
    if not isinstance(value, dict):
        raise Invalid({"$": ["The body must be a JSON object."]})
    try:
        return await _validate(model, value)
    except _SameNameError:
        return await _validate(model, await asyncio.to_thread(_last_wins, data))


async def _validate(model: type[B], value: dict[str, Any]) -> B:
    value = _fold_names(value)
    errors: list[ErrorDetails] = []
    for name, item in value.items():
        if name in model.long_lists and isinstance(item, list) and len(item) > CHUNK:
            value[name] = await _validate_list(name, item, model.long_lists[name], errors)
        elif isinstance(item, (dict, list)) and name not in model.as_sent:
            value[name] = _fold(item)
    try:
        body = model.model_validate(value)
    except ValidationError as e:
        errors += e.errors(include_url=False, include_context=False)
    else:
        if not errors:
            return body
    raise Invalid(_keyed(errors))


async def _validate_list(
    name: str, items: list[Any], adapter: TypeAdapter[list[Any]], errors: list[ErrorDetails]
) -> list[Any]:
    done: list[Any] = []

    def validate(start: int, chunk: Sequence[Any]) -> None:
        try:
            done.extend(adapter.validate_python(_fold(chunk)))
        except ValidationError as e:
            if len(errors) < MAX_ERRORS:
                for error in e.errors(include_url=False, include_context=False):
                    index, *rest = error["loc"]
                    errors.append({**error, "loc": (name, start + int(index), *rest)})

    await in_chunks(items, validate)
    return done


class _SameNameError(Exception):
    """Two names of one object differ only in case."""


def _fold(value: Any) -> Any:
    """The value with the contract's names at every level. The JSON parser has bounded the depth."""
    if type(value) is dict:
        return {name: _fold(item) for name, item in _fold_names(value).items()}
    if type(value) is list:
        return [_fold(item) for item in value]
    return value


def _fold_names(value: dict[str, Any]) -> dict[str, Any]:
    folded = {_names.get(name) or _names.get(name.lower(), name): item for name, item in value.items()}
    if len(folded) < len(value):
        raise _SameNameError
    return folded


def _last_wins(data: bytes | bytearray) -> Any:
    """As the fast parser, but of names that differ only in case the last in the text wins, as for equal ones."""

    def fold(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return {_names.get(name) or _names.get(name.lower(), name): item for name, item in pairs}

    return json.loads(data, object_pairs_hook=fold)


def _keyed(errors: Iterable[ErrorDetails]) -> dict[str, list[str]]:
    findings = Findings()
    for error in errors:
        text = error["input"] if isinstance(error["input"], str) else ""
        if error["type"] == "missing" or error["input"] is None:
            findings.add(pascal(error["loc"]), "A value is required.")
        elif error["type"] == "string_pattern_mismatch":
            findings.add(
                pascal(error["loc"]), "NUL is not allowed." if "\0" in text else "The value must not be blank."
            )
        else:
            findings.add(_json_path(error["loc"]), _WRONG.get(error["type"]) or error["msg"])
    return findings.errors


_WRONG: Final = {
    "string_type": "The value must be a string.",
    "bool_type": "The value must be true or false.",
    "int_type": "The value must be an integer.",
    "list_type": "The value must be an array.",
    "model_type": "The value must be an object.",
    "model_attributes_type": "The value must be an object.",
}


def pascal(path: Iterable[str | int]) -> str:
    """`Recipients[0].EmailAddress`"""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[0].upper()}{part[1:]}" for part in path)
    return text.removeprefix(".")


def _json_path(path: Iterable[str | int]) -> str:
    """`$.recipients[0].emailAddress`"""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
