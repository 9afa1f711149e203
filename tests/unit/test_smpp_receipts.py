"""Receipts of SMSCs (channels 3.4, 4.4.3; assertions 87, 88, fault F30): whatever they look like, what they say."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.delivery.ports import Report, Suppress, Verdict
from varsel.domain.notification import Reason
from varsel.providers.smpp_receipts import (
    STATES,
    IdFormat,
    Receipt,
    is_receipt,
    read_receipt,
    references,
    report_of,
    submitted_reference,
)
from varsel.simulators.smpp_receipt import TextStyle, receipt
from varsel.smpp.pdu import NOBODY, Address, Message, Tag

SENT = Message(Address(5, 0, "Etaten"), Address(1, 1, "4799999500"), b"Hei, id:999 stat:EXPIRED err:1")


def told(text: str, tlvs: dict[int, bytes] | None = None, esm_class: int = 4) -> Message:
    return Message(NOBODY, NOBODY, text.encode("latin-1"), esm_class=esm_class, tlvs=tlvs or {})


def reported(message: Message, id_format: IdFormat = "same", **causes: str) -> Report:
    errors = {name.removeprefix("e"): cause for name, cause in causes.items()}
    return report_of("smsc", message, id_format=id_format, error_causes=errors)


@pytest.mark.parametrize("style", get_args(TextStyle))
@pytest.mark.parametrize("tlvs", [True, False])
@pytest.mark.parametrize("state", ["DELIVRD", "UNDELIV", "REJECTD", "INVENTD"])
@pytest.mark.assertion("channels", 87)
def test_a_receipt_is_read_in_every_style_from_its_parameters_or_its_text(
    style: TextStyle, tlvs: bool, state: str
) -> None:
    """The text of the message, which stands at its end, says nothing."""
    found = read_receipt(receipt(SENT, "42", state, style=style, tlvs=tlvs))
    assert (found.id, found.state) == ("42", state)
    assert int(found.error) == (0 if state == "DELIVRD" else 27)
    assert found.done.isdigit()


FATES: dict[str, tuple[Verdict, Reason | None, bool]] = {
    "ENROUTE": (Verdict.DELAYED, None, False),
    "DELIVRD": (Verdict.DELIVERED, None, False),
    "EXPIRED": (Verdict.FAILED, Reason.EXPIRED_AT_PROVIDER, False),
    "DELETED": (Verdict.FAILED, Reason.DELETED, False),
    "UNDELIV": (Verdict.FAILED, Reason.UNDELIVERED, False),
    "ACCEPTD": (Verdict.DELAYED, None, False),
    "UNKNOWN": (Verdict.FAILED, Reason.UNSPECIFIED, True),
    "REJECTD": (Verdict.FAILED, Reason.REJECTED, False),
    "SCHEDLD": (Verdict.DELAYED, None, False),
    "SKIPPED": (Verdict.FAILED, Reason.UNDELIVERED, False),
    "INVENTD": (Verdict.UNRECOGNISED, None, False),
}


@pytest.mark.parametrize(("state", "fate"), FATES.items())
@pytest.mark.parametrize("tlvs", [True, False])
@pytest.mark.assertion("channels", 9, 88)
def test_each_state_has_its_meaning(state: str, fate: tuple[Verdict, Reason | None, bool], tlvs: bool) -> None:
    report = reported(receipt(SENT, "42", state, style="standard", tlvs=tlvs))
    assert (report.verdict, report.reason, report.soft) == fate
    assert (report.reference, report.raw_state) == ("42", state)
    assert STATES.keys() == FATES.keys() - {"INVENTD"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id:7 stat:DELIVRD err:000", Receipt("7", "DELIVRD", "000", "")),
        ("ID: 7 STAT: DELIVRD Err: 12", Receipt("7", "DELIVRD", "12", "")),
        ("smscid:1 my-id:2 id:3 substat:X stat:EXPIRED", Receipt("3", "EXPIRED", "", "")),
        ("id:a id:b stat:DELIVRD stat:EXPIRED", Receipt("a", "DELIVRD", "", "")),
        ("stat:DELIVRD id:7 done date:2611231000", Receipt("7", "DELIVRD", "", "2611231000")),
        ("id:7 text:stat:DELIVRD", Receipt("7", "", "", "")),
        ("id:0123-abc stat:DELIVRD", Receipt("0123-abc", "DELIVRD", "", "")),
        ("id:\x01\xffx\x02 stat:DELIVRD", Receipt("x", "DELIVRD", "", "")),
        ("hello", Receipt("", "", "", "")),
        ("", Receipt("", "", "", "")),
    ],
)
def test_a_text_is_read_as_people_would(text: str, expected: Receipt) -> None:
    assert read_receipt(told(text)) == expected


def test_parameters_count_more_than_the_text() -> None:
    tlvs: dict[int, bytes] = {Tag.RECEIPTED_MESSAGE_ID: b"ab\0", Tag.MESSAGE_STATE: b"\x05"}
    tlvs[Tag.NETWORK_ERROR_CODE] = b"\x03\x01\x02"
    assert read_receipt(told("id:7 stat:DELIVRD err:9", tlvs)) == Receipt("ab", "UNDELIV", "258", "")


def test_a_text_may_stand_in_the_payload() -> None:
    assert read_receipt(told("", {Tag.MESSAGE_PAYLOAD: b"id:7 stat:DELIVRD"})).id == "7"


@pytest.mark.parametrize(("esm_class", "expected"), [(0, False), (4, True), (0x20, True), (0x44, True), (0x08, False)])
def test_its_class_says_whether_a_message_is_a_receipt(esm_class: int, expected: bool) -> None:
    assert is_receipt(told("", esm_class=esm_class)) is expected


def test_an_operators_own_error_codes_say_why_a_message_was_undelivered() -> None:
    undelivered = told("id:7 stat:UNDELIV err:027")
    assert reported(undelivered, e027="no_such_recipient").reason is Reason.BARRED_RECEIVER
    assert reported(undelivered, e027="no_such_recipient").suppress is Suppress.BARRED
    assert reported(undelivered, e028="no_such_recipient").reason is Reason.UNDELIVERED
    assert reported(told("id:7 stat:EXPIRED err:027"), e027="no_such_recipient").reason is Reason.EXPIRED_AT_PROVIDER


def test_a_receipt_that_names_no_message_is_kept_for_an_operator() -> None:
    report = reported(told("receipt of sorts"))
    assert (report.verdict, report.reference, report.detail) == (Verdict.UNRECOGNISED, None, "malformed: no id")
    assert report.event_key != reported(told("receipt of another sort")).event_key


def test_the_same_receipt_twice_is_one_event_and_another_state_is_another() -> None:
    keys = [
        reported(told(f"id:7 stat:{state} done date:2611231000")).event_key
        for state in ("ENROUTE", "DELIVRD", "DELIVRD")
    ]
    assert keys[0] != keys[1] == keys[2]


def test_nothing_of_the_message_or_its_recipient_is_kept() -> None:
    report = reported(receipt(SENT, "42", "UNDELIV", style="extra-keys", tlvs=True))
    assert report.payload.keys() == {"reference", "state", "error", "done"}
    assert "Hei" not in repr(report)
    assert "99999500" not in repr(report)


ids = st.integers(0, 2**63)


@given(ids)
@pytest.mark.assertion("channels", 87)
@pytest.mark.assertion("channels-faults", 30)
def test_an_id_is_found_again_whichever_way_the_receipt_writes_it(number: int) -> None:
    """Among them the answer in decimal, the receipt in hexadecimal."""
    spellings = (str(number), f"{number:x}", f"{number:X}", f"{number:010}", f"{number:012X}")
    for answered in spellings:
        kept = submitted_reference(answered, "auto")
        for receipted in spellings:
            assert kept in references(receipted, "auto")


@given(ids)
def test_where_it_is_known_how_the_receipts_write_there_is_one_spelling(number: int) -> None:
    assert references(f"{number:08X}", "hex_to_dec") == (submitted_reference(str(number), "hex_to_dec"),)
    assert references(f"{number:012}", "dec_to_hex") == (submitted_reference(f"{number:x}", "dec_to_hex"),)
    assert references(f"{number:012}", "same") == (f"{number:012}",)
    assert submitted_reference("00ab", "same") == "00ab"


@given(st.text(), st.sampled_from(get_args(IdFormat)))
def test_any_id_has_a_spelling(text: str, id_format: IdFormat) -> None:
    assert references(text, id_format)


tlv_maps = st.dictionaries(st.sampled_from([*Tag]), st.binary(max_size=20))


@given(st.binary(max_size=254), tlv_maps, st.sampled_from(get_args(IdFormat)))
@pytest.mark.assertion("channels", 9)
def test_any_message_gives_a_report_and_nonsense_decides_nothing(
    octets: bytes, tlvs: dict[int, bytes], id_format: IdFormat
) -> None:
    report = reported(Message(NOBODY, NOBODY, octets, esm_class=4, tlvs=tlvs), id_format)
    if not any(state.encode() in octets.upper() for state in STATES) and Tag.MESSAGE_STATE not in tlvs:
        assert report.verdict is Verdict.UNRECOGNISED
    assert "\0" not in repr(report)
    assert len(report.raw_state) <= 64
