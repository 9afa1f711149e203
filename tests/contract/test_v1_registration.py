"""What a v1 order must look like (http-api 4-7, 12.1-12.3). Nothing is stored here: see test_v1_reading.py."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from serving import ORDERS, Front
from varsel.domain.order import ContentType, OrderChannel, OrderKind, Recipient

PERSON: Final = "01817012345"
ORGANISATION: Final = "910000017"
EMAIL: Final = f"{ORDERS}/email"
SMS: Final = f"{ORDERS}/sms"

KARI: Final = {"emailAddress": "kari@example.com"}
OLA: Final = {"mobileNumber": "+4799999501"}
MAIL: Final = {"subject": "Receipt", "body": "Thank you.", "recipients": [KARI]}
TEXT: Final = {"body": "Thank you.", "recipients": [OLA]}
EMAIL_TEMPLATE: Final = {"subject": "Receipt", "body": "Thank you."}
SMS_TEMPLATE: Final = {"body": "Thank you."}


def order(channel: object, **changes: Any) -> dict[str, Any]:
    """A body of POST /orders whose recipient any channel can use."""
    usual = {
        "notificationChannel": channel,
        "recipients": [{**KARI, **OLA}],
        "emailTemplate": EMAIL_TEMPLATE,
        "smsTemplate": SMS_TEMPLATE,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not ...}


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


@pytest.mark.assertion("http-api", 29)
def test_an_accepted_order_is_answered_with_its_id_and_place(front: Front) -> None:
    reply = front.client.post(EMAIL, MAIL)
    assert reply.status == 202
    accepted = front.orders.accepted[-1]
    assert reply.json == {"orderId": str(accepted.id)}
    assert reply.headers["Location"] == f"http://localhost:5090{ORDERS}/{accepted.id}"


def test_an_email_order_becomes_an_order_with_every_default_filled_in(front: Front) -> None:
    accepted = front.accepted(EMAIL, MAIL)
    now = front.clock.now()
    assert (accepted.creator, accepted.kind, accepted.channel) == ("ttd", OrderKind.NOTIFICATION, OrderChannel.EMAIL)
    assert (accepted.created, accepted.requested_send_time) == (now, now)
    assert accepted.recipients == (Recipient(email="kari@example.com"),)
    assert accepted.email is not None
    assert (accepted.email.sender, accepted.email.content_type) == ("noreply@altinn.cloud", ContentType.PLAIN)
    assert (accepted.sms, accepted.sending_time, accepted.ignore_reservation) == (None, None, None)
    assert not accepted.allow_stale


@pytest.mark.parametrize(
    "body", [b"{", b"", b"[]", b"null", b'"text"', b'{"subject": 1,}', b"{} // comment", b"\xff{}"]
)
@pytest.mark.assertion("http-api", 18, 25)
def test_what_is_not_a_json_object_is_named_by_the_root(front: Front, body: bytes) -> None:
    assert list(front.client.post(EMAIL, body).errors) == ["$"]


def test_deep_json_is_an_error_of_the_sender(front: Front) -> None:
    assert "$" in front.client.post(EMAIL, b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}").errors


@pytest.mark.assertion("http-api", 19)
def test_unknown_properties_are_ignored_at_every_level(front: Front) -> None:
    unknown: dict[str, Any] = {"dialogueId": 1, "content-type": None, "x": {"y": [{}]}}
    body = order("Email", recipients=[KARI | unknown], emailTemplate=EMAIL_TEMPLATE | unknown, **unknown)
    assert front.client.post(ORDERS, body).status == 202


@pytest.mark.assertion("http-api", 20)
def test_property_names_are_read_in_any_case(front: Front) -> None:
    later = "2026-11-24T10:00:00Z"
    accepted = front.accepted(
        EMAIL, {"SUBJECT": "s", "Body": "b", "Recipients": [{"EMAILADDRESS": "a@b.no"}], "RequestedSendTime": later}
    )
    assert accepted.requested_send_time == datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert accepted.recipients == (Recipient(email="a@b.no"),)


@pytest.mark.parametrize(
    "body",
    [
        b'{"subject": "first", "subject": "last", "body": "b", "recipients": [{"emailAddress": "a@b.no"}]}',
        b'{"subject": "first", "Subject": "last", "body": "b", "recipients": [{"emailAddress": "a@b.no"}]}',
        b'{"subject": "1", "Subject": "2", "body": "b", "recipients": [{"emailAddress": "a@b.no"}], "subject": "last"}',
    ],
    ids=["same case", "other case", "mixed"],
)
def test_of_a_property_given_twice_the_last_one_counts(front: Front, body: bytes) -> None:
    reply = front.client.post(EMAIL, body)
    assert reply.status == 202
    assert (template := front.orders.accepted[-1].email)
    assert template.subject == "last"


@pytest.mark.parametrize("name", ["emailpreferred", "EMAILPREFERRED", "EmailPreferred", 2, 2.0])
@pytest.mark.assertion("http-api", 21)
def test_enums_are_read_in_any_case_and_by_number(front: Front, name: object) -> None:
    assert front.accepted(ORDERS, order(name)).channel is OrderChannel.EMAIL_PREFERRED


@pytest.mark.parametrize("name", ["Pigeon", "", 5, -1, 1.5, True, ["Email"], "0"])
@pytest.mark.assertion("http-api", 22, 23)
def test_an_enum_takes_nothing_else(front: Front, name: object) -> None:
    assert list(front.client.post(ORDERS, order(name)).errors) == ["$.notificationChannel"]


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("$.sendersReference", {"sendersReference": 12}),
        ("$.ignoreReservation", {"ignoreReservation": "true"}),
        ("$.requestedSendTime", {"requestedSendTime": 1796000000}),
        ("$.requestedSendTime", {"requestedSendTime": True}),
        ("$.recipients", {"recipients": {}}),
        ("$.recipients[0]", {"recipients": ["kari@example.com"]}),
        ("$.recipients[1].emailAddress", {"recipients": [KARI, {"emailAddress": 1}]}),
    ],
)
@pytest.mark.assertion("http-api", 24)
def test_types_are_strict(front: Front, path: str, changes: dict[str, Any]) -> None:
    assert list(front.client.post(EMAIL, MAIL | changes).errors) == [path]


def test_all_errors_of_a_stage_are_told_and_only_of_that_stage(front: Front) -> None:
    body = {"subject": " ", "recipients": [None], "sendersReference": 1, "resourceAction": "read"}
    assert set(front.client.post(EMAIL, body).errors) == {"Subject", "Body", "Recipients[0]", "$.sendersReference"}
    body = {**MAIL, "recipients": [], "resourceAction": "read", "conditionEndpoint": ""}
    assert set(front.client.post(EMAIL, body).errors) == {"Recipients", "ResourceAction", "ConditionEndpoint"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("requestedSendTime", EMAIL),
        ("subject", EMAIL),
        ("body", EMAIL),
        ("recipients", EMAIL),
        ("body", SMS),
        ("recipients", ORDERS),
    ],
)
def test_null_is_an_error_where_a_value_is_required_or_has_a_default(front: Front, name: str, path: str) -> None:
    body = {EMAIL: MAIL, SMS: TEXT, ORDERS: order("Email")}[path]
    assert list(front.client.post(path, {**body, name: None}).errors) == [name[0].upper() + name[1:]]


@pytest.mark.parametrize(("template", "name"), [("emailTemplate", "subject"), ("emailTemplate", "contentType")])
def test_null_is_an_error_in_a_template(front: Front, template: str, name: str) -> None:
    assert front.client.post(ORDERS, order("Email", **{template: {**EMAIL_TEMPLATE, name: None}})).errors


def test_null_equals_absence_where_a_property_may_be_absent(front: Front) -> None:
    nullable = ("sendersReference", "ignoreReservation", "resourceId", "resourceAction", "conditionEndpoint")
    accepted = front.accepted(EMAIL, {**MAIL, **dict.fromkeys(nullable), "contentType": None})
    assert (accepted.senders_reference, accepted.resource_id, accepted.condition_endpoint) == (None, None, None)


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("Subject", {"subject": "a\0b"}),
        ("SendersReference", {"sendersReference": "\0"}),
        ("ResourceId", {"resourceId": "a\0"}),
        ("ConditionEndpoint", {"conditionEndpoint": "https://a.example.no/\0"}),
        ("Recipients[0].EmailAddress", {"recipients": [{"emailAddress": "a\0@b.no"}]}),
    ],
)
def test_nul_is_refused_in_every_text(front: Front, path: str, changes: dict[str, Any]) -> None:
    assert list(front.client.post(EMAIL, MAIL | changes).errors) == [path]


def test_half_a_surrogate_pair_is_no_text(front: Front) -> None:
    assert front.client.post(EMAIL, b'{"subject": "\\ud800", "body": "b", "recipients": []}').errors


@pytest.mark.parametrize(
    "recipients",
    [..., None, [None], [], [KARI, None]],
    ids=["36 without", "36 null", "36 null inside", "35 empty", "36 null beside one"],
)
@pytest.mark.parametrize("path", [EMAIL, SMS, ORDERS])
@pytest.mark.assertion("http-api", 35, 36)
def test_an_order_has_recipients(front: Front, path: str, recipients: object) -> None:
    body = {EMAIL: MAIL, SMS: TEXT, ORDERS: order("Email")}[path]
    changed = without(body, "recipients") if recipients is ... else {**body, "recipients": recipients}
    assert all(key.startswith("Recipients") for key in front.client.post(path, changed).errors)


@pytest.mark.parametrize("text", [..., "", "  ", " \t\n\u00a0"])
@pytest.mark.parametrize(
    ("path", "name"), [(EMAIL, "subject"), (EMAIL, "body"), (SMS, "body")], ids=["37 subject", "37 body", "47 SMS body"]
)
@pytest.mark.assertion("http-api", 37, 47)
def test_texts_say_something(front: Front, path: str, name: str, text: object) -> None:
    body = without(MAIL if path == EMAIL else TEXT, name) | ({} if text is ... else {name: text})
    assert list(front.client.post(path, body).errors) == [name.capitalize()]


@pytest.mark.parametrize(
    ("path", "recipient"),
    [
        pytest.param(EMAIL, {}, id="38"),
        pytest.param(EMAIL, {"emailAddress": "", "nationalIdentityNumber": ""}, id="38 empty texts"),
        pytest.param(EMAIL, OLA, id="39"),
        pytest.param(SMS, KARI, id="39 the other way"),
        pytest.param(EMAIL, {"emailAddress": "one@example.com;two@example.com"}, id="40"),
        pytest.param(EMAIL, {"emailAddress": "kari@example"}, id="no domain"),
        pytest.param(SMS, {"mobileNumber": "99999501"}, id="44 no country code"),
        pytest.param(SMS, {"mobileNumber": " +4799999501"}, id="44 blank first"),
        pytest.param(SMS, {"mobileNumber": "++4740000000"}, id="44 two plus signs"),
        pytest.param(SMS, {"mobileNumber": "+4712345678"}, id="44 no such number"),
        pytest.param(EMAIL, {"nationalIdentityNumber": PERSON[:10]}, id="48 person 10"),
        pytest.param(EMAIL, {"nationalIdentityNumber": PERSON + "1"}, id="48 person 12"),
        pytest.param(EMAIL, {"nationalIdentityNumber": "0181701234x"}, id="48 person letters"),
        pytest.param(EMAIL, {"nationalIdentityNumber": "٠١٨١٧٠١٢٣٤٥"}, id="48 person other digits"),
        pytest.param(EMAIL, {"organizationNumber": "91000001"}, id="48 organisation 8"),
        pytest.param(EMAIL, {"nationalIdentityNumber": PERSON, **KARI}, id="49 email"),
        pytest.param(EMAIL, {"nationalIdentityNumber": PERSON, **OLA}, id="49 mobile"),
        pytest.param(
            EMAIL, {"nationalIdentityNumber": PERSON, "organizationNumber": ORGANISATION}, id="49 organisation"
        ),
        pytest.param(SMS, {"organizationNumber": ORGANISATION, **KARI}, id="50 email"),
        pytest.param(SMS, {"organizationNumber": ORGANISATION, **OLA}, id="50 mobile"),
    ],
)
@pytest.mark.assertion("http-api", 38, 39, 40, 44, 48, 49, 50)
def test_a_recipient_that_cannot_be_reached_so_is_refused(front: Front, path: str, recipient: dict[str, Any]) -> None:
    body = {**(MAIL if path == EMAIL else TEXT), "recipients": [KARI | OLA, recipient]}
    assert all(key.startswith("Recipients[1]") for key in front.client.post(path, body).errors)


@pytest.mark.parametrize(
    ("path", "recipient"),
    [
        pytest.param(EMAIL, {"emailAddress": "æge_sjøåsen@domain.com"}, id="41"),
        pytest.param(EMAIL, {"emailAddress": " a@b.no "}, id="blanks around"),
        pytest.param(SMS, {"mobileNumber": "+47 99 99 95 01"}, id="43"),
        pytest.param(SMS, {"mobileNumber": "004799999501"}, id="45"),
        pytest.param(EMAIL, {"nationalIdentityNumber": PERSON}, id="person"),
        pytest.param(SMS, {"organizationNumber": ORGANISATION}, id="organisation"),
        pytest.param(EMAIL, {**KARI, "mobileNumber": "not checked"}, id="a mobile number is no matter of email"),
    ],
)
@pytest.mark.assertion("http-api", 41, 43, 45)
def test_addresses_and_identifiers_are_kept_as_given(front: Front, path: str, recipient: dict[str, Any]) -> None:
    accepted = front.accepted(path, {**(MAIL if path == EMAIL else TEXT), "recipients": [recipient]})
    dropped = "mobileNumber" if path == EMAIL else "emailAddress"
    kept = without(recipient, dropped)
    assert accepted.recipients == (
        Recipient(
            email=kept.get("emailAddress"),
            mobile=kept.get("mobileNumber"),
            national_identity_number=kept.get("nationalIdentityNumber"),
            organisation_number=kept.get("organizationNumber"),
        ),
    )


def test_only_the_email_and_sms_endpoints_drop_the_other_address(front: Front) -> None:
    both = [{**KARI, **OLA}]
    assert front.accepted(EMAIL, {**MAIL, "recipients": both}).recipients[0].mobile is None
    assert front.accepted(SMS, {**TEXT, "recipients": both}).recipients[0].email is None
    assert front.accepted(ORDERS, order("Email", recipients=both)).recipients[0].mobile == "+4799999501"


@pytest.mark.parametrize("channel", [..., None])
@pytest.mark.assertion("http-api", 51)
def test_the_channel_is_required(front: Front, channel: object) -> None:
    assert list(front.client.post(ORDERS, order(channel)).errors) == ["NotificationChannel"]


@pytest.mark.parametrize(
    ("channel", "given", "missing"),
    [
        pytest.param("Email", "sms", "EmailTemplate", id="Email"),
        pytest.param("Sms", "email", "SmsTemplate", id="53"),
        pytest.param("EmailPreferred", "email", "SmsTemplate", id="52 only email"),
        pytest.param("EmailPreferred", "sms", "EmailTemplate", id="52 only SMS"),
        pytest.param("SmsPreferred", "email", "SmsTemplate", id="SmsPreferred"),
        pytest.param("EmailAndSms", "email", "SmsTemplate", id="EmailAndSms only email"),
        pytest.param("EmailAndSms", "sms", "EmailTemplate", id="EmailAndSms only SMS"),
    ],
)
@pytest.mark.assertion("http-api", 52, 53)
def test_a_channel_needs_its_templates(front: Front, channel: str, given: str, missing: str) -> None:
    changes: dict[str, Any] = {"smsTemplate": ...} if given == "email" else {"emailTemplate": ...}
    assert list(front.client.post(ORDERS, order(channel, **changes)).errors) == [missing]


@pytest.mark.parametrize("channel", ["Email", "Sms", "EmailPreferred", "SmsPreferred", "EmailAndSms"])
@pytest.mark.assertion("http-api", 52)
def test_with_both_templates_every_channel_is_accepted(front: Front, channel: str) -> None:
    accepted = front.accepted(ORDERS, order(channel))
    assert accepted.email
    assert accepted.sms  # also one that the channel does not need
    assert (accepted.email.sender, accepted.sms.sender) == ("noreply@altinn.cloud", "Altinn")


@pytest.mark.assertion("http-api", 54)
def test_a_template_that_is_not_needed_must_be_good_too(front: Front) -> None:
    errors = front.client.post(ORDERS, order("Sms", emailTemplate={"subject": "s", "body": ""})).errors
    assert list(errors) == ["EmailTemplate.Body"]


@pytest.mark.parametrize(
    "recipients", [[], [{}], [{"emailAddress": "bad", "mobileNumber": "bad"}]], ids=["55", "nobody", "bad addresses"]
)
@pytest.mark.assertion("http-api", 55)
def test_recipients_of_both_channels_are_checked_as_for_the_preferred_ones(front: Front, recipients: object) -> None:
    assert front.client.post(ORDERS, order("EmailAndSms", recipients=recipients)).errors
    assert front.client.post(ORDERS, order("SmsPreferred", recipients=recipients)).errors


def test_both_channels_take_a_recipient_with_one_direct_address(front: Front) -> None:
    assert front.accepted(ORDERS, order("EmailAndSms", recipients=[KARI])).recipients[0].mobile is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("2030-01-01T12:00:00", id="56"),
        *("2030-01-01", "2030-01-01T12:00:00z", "2030-01-01 12:00:00Z", "2030-01-01t12:00:00Z", "20300101T120000Z"),
        *("2030-13-01T12:00:00Z", "2030-01-01T25:00:00Z", "2030-01-01T12:00:00+25:00", "2030-01-01T12:00:00+02"),
        *("0000-01-01T00:00:00Z", "9999-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "1796000000", "", "now"),
        *(" 2030-01-01T12:00:00Z", "2030-01-01T12:00:00Z\n", "2030-01-01T12:00:00,5Z", "２030-01-01T12:00:00Z"),
    ],
)
@pytest.mark.assertion("http-api", 56)
def test_only_date_times_of_the_contract_with_a_zone_are_taken(front: Front, text: str) -> None:
    (key,) = front.client.post(EMAIL, {**MAIL, "requestedSendTime": text}).errors
    assert "requestedsendtime" in key.lower()


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2030-01-01T12:00:00+02:00", datetime(2030, 1, 1, 10, tzinfo=UTC)),
        ("2030-01-01T12:00Z", datetime(2030, 1, 1, 12, tzinfo=UTC)),
        ("2030-01-01T12:00:00.5-03:30", datetime(2030, 1, 1, 15, 30, 0, 500000, tzinfo=UTC)),
        ("2030-01-01T12:00:00.1234567Z", datetime(2030, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)),
        ("9998-12-31T23:59:59Z", datetime(9998, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_date_times_are_instants(front: Front, text: str, instant: datetime) -> None:
    assert front.accepted(EMAIL, {**MAIL, "requestedSendTime": text}).requested_send_time == instant


@pytest.mark.assertion("http-api", 57)
def test_a_send_time_may_lie_five_minutes_back(front: Front) -> None:
    def at(minutes: float) -> str:
        return (front.clock.now() - timedelta(minutes=minutes)).isoformat()

    assert front.client.post(EMAIL, {**MAIL, "requestedSendTime": at(4)}).status == 202
    assert front.client.post(EMAIL, {**MAIL, "requestedSendTime": at(5)}).status == 202
    assert list(front.client.post(EMAIL, {**MAIL, "requestedSendTime": at(6)}).errors) == ["RequestedSendTime"]


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://a.example.no/x?y=1", True),
        ("http://a.example.no:8080/x", True),
        ("HTTPS://A.EXAMPLE.NO", True),
        ("http://localhost/x", False),
        ("https://10.0.0.1/x", False),
        ("https://[::1]/x", False),
        ("", False),
        (" ", False),
        ("/relative", False),
        ("ftp://a.example.no/x", False),
        ("https://a.example.no:99999/x", False),
        ("https://a.example.no/a b", False),
        ("https://exa_mple.no/x", False),
        ("https://", False),
        ("https://[a.example.no/x", False),
    ],
)
@pytest.mark.assertion("http-api", 58)
def test_a_condition_needs_a_url_with_a_full_domain_name(front: Front, url: str, good: bool) -> None:
    reply = front.client.post(EMAIL, {**MAIL, "conditionEndpoint": url})
    if good:
        assert reply.status == 202
        assert front.orders.accepted[-1].condition_endpoint == url
    else:
        assert list(reply.errors) == ["ConditionEndpoint"]


@pytest.mark.parametrize(
    ("resource", "action", "good"),
    [
        ("app_ttd_x", ..., True),
        ("app_ttd_x", "read", True),
        ("app_ttd_x", "", True),
        (..., "", True),
        (..., "read", False),
        ("", "read", False),
        (" ", "read", False),
        ("app_ttd_x", " ", False),
    ],
)
@pytest.mark.assertion("http-api", 59)
def test_an_action_belongs_to_a_resource(front: Front, resource: object, action: object, good: bool) -> None:
    given = {"resourceId": resource, "resourceAction": action}
    reply = front.client.post(EMAIL, MAIL | {name: value for name, value in given.items() if value is not ...})
    if good:
        assert reply.status == 202
    else:
        assert list(reply.errors) == ["ResourceAction"]


@pytest.mark.assertion("http-api", 60)
@pytest.mark.assertion("processing", 6)
def test_the_same_body_twice_makes_two_orders(front: Front) -> None:
    assert front.accepted(EMAIL, MAIL).id != front.accepted(EMAIL, MAIL).id


@pytest.mark.parametrize("subject", ["a\r\nb\nc\rd", "a b c d"])
@pytest.mark.assertion("http-api", 42)
def test_each_line_break_in_a_subject_becomes_one_space(front: Front, subject: str) -> None:
    template = front.accepted(EMAIL, {**MAIL, "subject": subject}).email
    assert template
    assert template.subject == "a b c d"
    in_template = order("Email", emailTemplate={**EMAIL_TEMPLATE, "subject": "a\n\rb"})
    assert (template := front.accepted(ORDERS, in_template).email)
    assert template.subject == "a  b"


@pytest.mark.parametrize("sender", [..., None, ""])
@pytest.mark.assertion("http-api", 46)
def test_without_a_sender_the_default_one_is_used(front: Front, sender: object) -> None:
    given = {} if sender is ... else {"senderNumber": sender}
    assert (template := front.accepted(SMS, TEXT | given).sms)
    assert template.sender == "Altinn"
    assert (template := front.accepted(SMS, TEXT | {"senderNumber": "Etaten"}).sms)
    assert template.sender == "Etaten"


def test_an_sms_that_no_gateway_would_carry_whole_is_refused(front: Front) -> None:
    fits, over = "a" * (16 * 134), "a" * (16 * 134 + 1)
    assert front.client.post(SMS, {**TEXT, "body": fits}).status == 202
    assert list(front.client.post(SMS, {**TEXT, "body": over}).errors) == ["Body"]
    assert list(front.client.post(SMS, {**TEXT, "body": "ж" * (16 * 67 + 1)}).errors) == ["Body"]
    assert list(front.client.post(SMS, {**TEXT, "body": "a" * 5_000_000}).errors) == ["Body"]
    errors = front.client.post(ORDERS, order("EmailPreferred", smsTemplate={"body": over})).errors
    assert list(errors) == ["SmsTemplate.Body"]


def test_a_blank_reference_counts_as_none(front: Front) -> None:
    assert front.accepted(EMAIL, {**MAIL, "sendersReference": "  "}).senders_reference is None
    assert front.accepted(EMAIL, {**MAIL, "sendersReference": " x "}).senders_reference == " x "


def test_ten_thousand_recipients_are_one_order_and_each_error_keeps_its_place(front: Front) -> None:
    recipients: list[Any] = [{"EmailAddress": f"person{i}@example.com"} for i in range(10_500)]
    accepted = front.accepted(EMAIL, {**MAIL, "recipients": recipients})
    assert [r.email for r in accepted.recipients] == [r["EmailAddress"] for r in recipients]

    recipients[10_001] = {"emailAddress": "nobody"}
    assert list(front.client.post(EMAIL, {**MAIL, "recipients": recipients}).errors) == [
        "Recipients[10001].EmailAddress"
    ]
    recipients[10_002] = {"emailAddress": 1}
    recipients[3] = None
    errors = front.client.post(EMAIL, {**MAIL, "recipients": recipients, "subject": ""}).errors
    assert list(errors) == ["Recipients[3]", "$.recipients[10002].emailAddress", "Subject"]


def test_errors_are_told_without_end_only_up_to_a_thousand(front: Front) -> None:
    assert len(front.client.post(EMAIL, {**MAIL, "recipients": [{}] * 5_000}).errors) == 1_000
    assert len(front.client.post(EMAIL, {**MAIL, "recipients": [1] * 5_000}).errors) == 1_000


def test_no_error_repeats_what_was_sent(front: Front) -> None:
    body = {**MAIL, "recipients": [{"emailAddress": "secret-person@x"}, {"nationalIdentityNumber": "0181701"}]}
    content = front.client.post(EMAIL, body).content
    assert b"secret" not in content
    assert b"0181701" not in content
