"""Bodies from bytes to orders: what holds for every body, not only for the examples of the contract tests."""

import asyncio
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from varsel.api.bodies import CHUNK, Body, parse
from varsel.api.fields import Integer, OptionalInstant
from varsel.api.order_bodies import AnyOrderBody, EmailOrderBody, OrderBody, SmsOrderBody
from varsel.api.problems import Invalid
from varsel.api.schemas import format_instant
from varsel.domain.order import Order
from varsel.settings import SenderSettings

NOW: Final = datetime(2026, 11, 23, 10, tzinfo=UTC)
MODELS: Final[list[type[AnyOrderBody]]] = [OrderBody, EmailOrderBody, SmsOrderBody]
NAMES: Final = sorted({field.alias or "" for model in MODELS for field in model.model_fields.values()})

B = TypeVar("B", bound=Body)

patient = settings(deadline=None)


class Numbers(Body):
    """A body of properties that v1 lacks."""

    count: Integer = 0
    at: OptionalInstant = None


def parsed(model: type[B], data: bytes) -> B:
    return asyncio.run(parse(model, data, NOW))


def order_of(model: type[AnyOrderBody], data: bytes) -> Order:
    async def convert() -> Order:
        body = await parse(model, data, NOW)
        return await body.to_order("ttd", NOW, SenderSettings())

    return asyncio.run(convert())


def errors_of(model: type[Body], data: bytes) -> dict[str, list[str]]:
    with pytest.raises(Invalid) as invalid:
        parsed(model, data)
    return invalid.value.errors


def encoded(value: object) -> bytes:
    return json.dumps(value).encode()


finite = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
scalars = finite | st.floats()
names = st.sampled_from(NAMES) | st.sampled_from(NAMES).map(str.swapcase) | st.text()
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(names, inner), max_leaves=20)


@patient
@given(model=st.sampled_from(MODELS), value=values)
def test_any_json_is_an_order_or_invalid(model: type[AnyOrderBody], value: object) -> None:
    try:
        order_of(model, encoded(value))
    except Invalid as e:
        assert all(e.errors.values())  # noqa: PT017 - either is right


@patient
@given(model=st.sampled_from(MODELS), data=st.binary())
def test_any_bytes_are_an_order_or_invalid(model: type[AnyOrderBody], data: bytes) -> None:
    with pytest.raises(Invalid):
        parsed(model, data)


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda t: t.strip()
)
recipients = st.lists(
    st.sampled_from(
        [
            {"emailAddress": "kari@example.com"},
            {"emailAddress": "ola@example.com", "mobileNumber": "+4799999501"},
            {"nationalIdentityNumber": "01817012345"},
            {"organizationNumber": "910000017"},
        ]
    ),
    min_size=1,
)
orders = st.fixed_dictionaries(
    {"subject": texts, "body": texts, "recipients": recipients},
    optional={
        "sendersReference": texts,
        "ignoreReservation": st.booleans(),
        "contentType": st.sampled_from(["Html", 0]),
    },
)


@st.composite
def in_other_case(draw: st.DrawFn, value: Any) -> Any:
    """The same JSON with its property names in other case, and properties that nobody knows in between."""
    match value:
        case dict():
            changed = {}
            for name, item in value.items():
                changed[draw(st.sampled_from([name, name.upper(), name.lower(), name.swapcase()]))] = draw(
                    in_other_case(item)
                )
                changed |= draw(st.dictionaries(st.text().map("x-{}".format), finite, max_size=1))
            return changed
        case list():
            return [draw(in_other_case(item)) for item in value]
        case _:
            return value


@patient
@given(body=orders, data=st.data())
def test_neither_case_nor_unknown_properties_change_an_order(body: dict[str, Any], data: st.DataObject) -> None:
    changed = data.draw(in_other_case(body))
    assert parsed(EmailOrderBody, encoded(changed)) == parsed(EmailOrderBody, encoded(body))


@patient
@given(given_=st.lists(st.tuples(st.sampled_from(["subject", "Subject", "SUBJECT"]), texts), min_size=1))
def test_the_last_of_equal_names_counts_whatever_their_case(given_: list[tuple[str, str]]) -> None:
    pairs = ",".join(f"{json.dumps(name)}:{json.dumps(text)}" for name, text in given_)
    data = f'{{{pairs},"body":"b","recipients":[{{"emailAddress":"a@b.no"}}]}}'.encode()
    assert parsed(EmailOrderBody, data).subject == given_[-1][1]


@patient
@given(
    length=st.sampled_from([CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7]),
    wrong=st.dictionaries(st.integers(0, 2 * CHUNK + 6), st.sampled_from([None, 7, {"emailAddress": 1}]), max_size=5),
)
def test_long_lists_are_read_as_short_ones(length: int, wrong: dict[int, object]) -> None:
    people: list[Any] = [{"emailAddress": f"p{i}@example.com"} for i in range(length)]
    wrong = {index: item for index, item in wrong.items() if index < length}
    for index, item in wrong.items():
        people[index] = item
    data = encoded({"subject": "s", "body": "b", "recipients": people})
    if not wrong:
        assert [r.email_address for r in parsed(EmailOrderBody, data).recipients] == [p["emailAddress"] for p in people]
        return
    form = {None: "Recipients[{}]", 7: "$.recipients[{}]"}
    expected = {
        (form[item] if not isinstance(item, dict) else "$.recipients[{}].emailAddress").format(index)  # type: ignore[index]
        for index, item in wrong.items()
    }
    assert set(errors_of(EmailOrderBody, data)) == expected


async def test_other_tasks_run_while_a_long_list_is_read() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    people = [{"emailAddress": "a@example.com"}] * (10 * CHUNK)
    body = await parse(EmailOrderBody, encoded({"subject": "s", "body": "b", "recipients": people}), NOW)
    read = turns
    await body.to_order("ttd", NOW, SenderSettings())
    task.cancel()
    assert read >= 18  # types, then rules
    assert turns - read >= 9


@patient
@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(timedelta(hours=-3.5))])))
def test_a_date_time_is_read_back_as_the_same_instant(instant: datetime) -> None:
    text = instant.isoformat()
    try:
        utc = instant.astimezone(UTC)
    except OverflowError:
        utc = None
    if utc is None or utc.year > 9998:
        assert errors_of(Numbers, encoded({"at": text}))
        return
    read = parsed(Numbers, encoded({"at": text})).at
    assert read == instant
    shown = format_instant(utc)
    assert parsed(Numbers, encoded({"at": shown})).at == instant
    assert shown.endswith("Z")
    assert not shown.removesuffix("Z").endswith((".", "0")) or "." not in shown


@pytest.mark.parametrize(
    ("microsecond", "shown"),
    [(0, "10:00:00Z"), (100_000, "10:00:00.1Z"), (1, "10:00:00.000001Z"), (200, "10:00:00.0002Z")],
)
def test_instants_are_shown_without_trailing_zeros(microsecond: int, shown: str) -> None:
    assert format_instant(NOW.replace(microsecond=microsecond)) == f"2026-11-23T{shown}"


@pytest.mark.parametrize(
    ("value", "number"), [(300, 300), (300.0, 300), ("300", 300), (-1, -1), ("0", 0), (10**18 - 1, 10**18 - 1)]
)
def test_whole_numbers_may_be_sent_as_text_and_with_a_point(value: object, number: int) -> None:
    assert parsed(Numbers, encoded({"count": value})).count == number


@pytest.mark.parametrize("value", [True, 1.5, "1.0", "", " 1", "1\n", "x", 10**18, "9" * 5_000, None, [1], "１"])
def test_nothing_else_is_a_number(value: object) -> None:
    assert len(errors_of(Numbers, encoded({"count": value}))) == 1


def test_a_byte_order_mark_is_no_error() -> None:
    assert parsed(Numbers, b'\xef\xbb\xbf{"count": 1}').count == 1
