"""What schemathesis must know of our document: our formats, and which findings are none. `schema_run.py` loads it.

A finding is excused only where the contract wants what the tool refuses, or where a rule cannot be said in a schema.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import schemathesis
from hypothesis import strategies as st
from schemathesis.core.failures import Failure

from varsel.api.bulk_bodies import PATHS
from varsel.api.profile_bodies import NO_ADDRESS

# Strings of our formats. Nothing that is generated leads to another machine.

_ZONES: Final = st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(-timedelta(hours=9, minutes=30))])
_INSTANTS: Final = st.builds(
    lambda seconds, zone: (datetime(2040, 1, 1, tzinfo=UTC) + seconds).astimezone(zone).isoformat(),
    st.timedeltas(timedelta(), timedelta(days=365 * 7_000)),
    _ZONES,
).map(lambda text: text.replace("+00:00", "Z"))
_HOSTS: Final = st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,8})?\.(example|invalid|test)", fullmatch=True)
_URLS: Final = st.builds(
    "{}://{}{}/{}".format,
    st.sampled_from(["http", "https", "HTTPS"]),
    _HOSTS,
    st.sampled_from(["", ":8443"]),
    st.from_regex(r"[A-Za-z0-9._~/-]{0,20}(\?[a-z]{1,5}=[A-Za-z0-9%20]{0,9})?", fullmatch=True).filter(
        lambda text: "%" not in text
    ),
)
_MOBILES: Final = st.builds(
    "{}479999{}{:03d}".format,
    st.sampled_from(["+", "00"]),
    st.sampled_from(["9", "9 ", "9-"]),
    st.integers(500, 999),  # those below make the simulators misbehave
)
_DURATIONS: Final = st.builds(
    "P{}DT{}H{}M{}S".format, st.integers(1, 9_999), st.integers(0, 9_999), st.integers(0, 9_999), st.integers(0, 9_999)
)
_IDENTITIES: Final = st.sampled_from(
    [
        "urn:altinn:person:idporten-email:guest%40example.test",
        "urn:altinn:person:idporten-email:a%2Bb@example.com",
        "urn:altinn:party:username:olduser1",
        "urn:altinn:username:ærlig%20navn",
        "urn:altinn:person:legacy-selfidentified:olduser1",
    ]
)
_WEBHOOKS: Final = st.builds("https://{}/{}".format, _HOSTS, st.from_regex(r"[a-z0-9/-]{0,20}", fullmatch=True))
_ATTACHMENTS: Final = st.builds(
    "https://{}.blob.core.windows.net/{}?se=9{:03d}-01-01T00%3A00%3A00Z&sp=r&sr=b&sig={}".format,
    st.from_regex(r"[a-z]{3,9}", fullmatch=True),
    st.from_regex(r"[a-z]{1,9}/[a-z]{1,9}\.pdf", fullmatch=True),
    st.integers(100, 998),
    st.from_regex(r"[A-Za-z0-9]{1,20}", fullmatch=True),
)

# Of nobody in the sandbox: rows that are written must not take a leader's organisation away.
_PERSONS: Final = st.sampled_from(["12875041930", "31907748246", "19824548202", "10867242088"])
_ORGANISATIONS: Final = st.sampled_from(["213661507", "317550103", "211438800", "315327407"])

for _name, _strategy in {
    "date-time": _INSTANTS,
    "duration": _DURATIONS,
    "http-url": _URLS,
    "mobile-number": _MOBILES,
    "external-identity": _IDENTITIES,
    "attachment-url": _ATTACHMENTS,
    "webhook-url": _WEBHOOKS,
    "international-number": st.builds("+479999{}{:03d}".format, st.just("9"), st.integers(500, 999)),
    "country-code": st.just("+47"),
    "national-number": st.integers(99_999_500, 99_999_999).map(str),
    "identity-number": _PERSONS,
    "organisation-number": _ORGANISATIONS,
}.items():
    schemathesis.openapi.format(_name, _strategy)


@schemathesis.serializer("text/csv")
def as_it_is(context: Any, value: Any) -> bytes:
    return (value if isinstance(value, str) else str(value)).encode()


@schemathesis.hook
def after_load_schema(context: Any, schema: Any) -> None:
    """Names that end in `Id` are taken for things that another operation makes, and who needs one for no beginning.

    Ids of the caller's own (`idempotencyId`, `resourceId`, `dialogId`) are not: orders are where stories begin.
    """
    operations = schema.analysis.dependency_graph.operations.values()
    made = {output.resource.name for operation in operations for output in operation.outputs}
    for operation in operations:
        operation.inputs[:] = [needed for needed in operation.inputs if needed.resource.name in made]


# Findings that are none. By the name of the failure: what the contract says instead.

_UNSAYABLE: Final = re.compile(
    r"(Reminders\[\d+\]\.)?(RequestedSendTime|Delay|DelayDays)"  # lie ahead, before the end of time
    r"|FromSequence"  # is one that there is
    r"|from|to"  # lie behind, in order, and not too far
    r"|dialogId"  # or transmissionId: parameters know no "one of"
    r"|(Upsert|Delete)\[\d+\]\.(valid_to|parent_org_no)"  # after `valid_from`; not the organisation itself
    r"|IgnoreUnitProfileDateTime"  # lies behind
    r"|file"  # is a table with a header, as any file may be or not
    r"|Recipient\.EmailSettings\.Attachments\[\d+\]\.SasUrl"  # the example's, when the email is to leave after its end
)


_KNOWING: Final = ("postChain", "putOwnAddresses", "patchOwnAddresses", "sendCode", "verifyCode")


@schemathesis.hook
def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Whether the failure counts."""
    return not any(excuse(failure, case, response) for excuse in _EXCUSES)


def _an_id_that_is_none_has_no_shipment(failure: Failure, case: Any, response: Any) -> bool:
    """Http-api 2: what is no UUID is no such path, and has an empty 404, not `NOT-00003`."""
    return (
        type(failure).__name__ in ("MissingContentType", "MalformedJson")
        and "/future/shipment/{id}" in case.path
        and response.status_code == 404
        and response.content == b""
    )


def _a_word_in_place_of_an_id_is_a_bad_id(failure: Failure, case: Any, response: Any) -> bool:
    """Http-api 2: GET of `orders/email` is an order named `email`, which is 400, not 405."""
    return (
        type(failure).__name__ == "UnsupportedMethodResponse"
        and re.search(r"/v1/(orders/(email|sms|preview)|suppressions/lookup)$", case.path) is not None
        and _errors(response).keys() == {"id"}
    )


def _a_rule_that_no_schema_can_say(failure: Failure, case: Any, response: Any) -> bool:
    """About the time of day, or about several parameters together."""
    errors = _errors(response)
    return (
        type(failure).__name__ == "RejectedPositiveData"
        and bool(errors)
        and all(_UNSAYABLE.fullmatch(key) for key in errors)
    )


def _what_only_the_registers_know(failure: Failure, case: Any, response: Any) -> bool:
    """Http-api 9, registries 4.2-4.3: an identifier that is nobody's, an address that is not verified, a wrong code.

    Or a change after which a user would have no address at all.
    """
    name = case.operation.definition.raw["operationId"]
    none_left = name == "patchOwnAddresses" and _errors(response) == {"EmailAddress": [NO_ADDRESS]}
    unknown = name in _KNOWING and response.status_code == 422
    return type(failure).__name__ == "RejectedPositiveData" and (none_left or unknown)


def _an_address_that_was_put_beside_a_number(failure: Failure, case: Any, response: Any) -> bool:
    """The dictionary of addresses is used also where a number stands, and just one of the two is wanted."""
    return (
        type(failure).__name__ == "RejectedPositiveData"
        and "/suppressions" in case.path
        and {"emailAddress", "mobileNumber"} <= set(case.body)
        and _errors(response).keys() == {"EmailAddress"}
    )


def _a_wish_that_does_not_fit_the_file(failure: Failure, case: Any, response: Any) -> bool:
    """Which columns there are only the file says, which another request brought."""
    return (
        type(failure).__name__ == "RejectedPositiveData"
        and case.operation.definition.raw["operationId"] == "configureBulkJob"
        and bool(_errors(response))
        and _errors(response).keys() <= set(PATHS.values())
    )


def _a_blank_field_of_a_row_is_none(failure: Failure, case: Any, response: Any) -> bool:
    """The tool breaks one of the forms that a value may have, and hits another of them."""
    broken = re.search(r"at /properties/upsert/items/properties/(\w+)/anyOf/0$", failure.message, re.MULTILINE)
    return (
        type(failure).__name__ == "AcceptedNegativeData"
        and broken is not None
        and all(not str(row.get(broken[1]) or "").strip() for row in case.body["upsert"])
    )


_EXCUSES: Final = (
    _a_blank_field_of_a_row_is_none,
    _a_wish_that_does_not_fit_the_file,
    _an_id_that_is_none_has_no_shipment,
    _a_word_in_place_of_an_id_is_a_bad_id,
    _a_rule_that_no_schema_can_say,
    _what_only_the_registers_know,
    _an_address_that_was_put_beside_a_number,
)


def _errors(response: Any) -> Mapping[str, Any]:
    """Of a validation problem; empty for other answers."""
    if response.status_code != 400 or not response.content:
        return {}
    errors: Mapping[str, Any] = response.json().get("errors", {})
    return errors
