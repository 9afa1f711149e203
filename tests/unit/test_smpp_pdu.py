"""The codec of SMPP (channels 3.4, assertion 89): every value comes back, and any bytes are answered."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.gsm7 import decode, encode
from varsel.domain.sms_text import Alphabet, segment
from varsel.smpp.pdu import (
    HEADER_BYTES,
    MAX_PDU_BYTES,
    Address,
    Bind,
    Malformed,
    Message,
    Pdu,
    message_id,
    read_bind,
    read_data,
    read_header,
    read_message,
    read_message_id,
)
from varsel.smpp.stream import Ended, read_pdu


def letters(most: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=most)


octet = st.integers(0, 255)
addresses = st.builds(Address, octet, octet, letters(20))
messages = st.builds(
    Message,
    source=addresses,
    destination=addresses,
    short_message=st.binary(max_size=254),
    service_type=letters(5),
    esm_class=octet,
    protocol_id=octet,
    priority=octet,
    schedule=letters(16),
    validity=letters(16),
    registered_delivery=octet,
    replace_if_present=octet,
    data_coding=octet,
    default_message=octet,
    tlvs=st.dictionaries(st.integers(0, 0xFFFF), st.binary(max_size=300), max_size=5),
)
pdus = st.builds(
    Pdu,
    command=st.integers(0, 0xFFFFFFFF),
    sequence=st.integers(0, 0xFFFFFFFF),
    status=st.integers(0, 0xFFFFFFFF),
    body=st.binary(max_size=500),
)


@given(messages)
def test_a_message_comes_back_as_it_was_written(message: Message) -> None:
    assert read_message(message.to_bytes()) == message


@given(letters(15), letters(8), letters(12), octet)
def test_a_bind_comes_back_as_it_was_written(system_id: str, password: str, system_type: str, version: int) -> None:
    bind = Bind(system_id, password, system_type, version)
    assert read_bind(bind.to_bytes()) == bind


def test_a_submit_is_written_as_the_specification_has_it() -> None:
    message = Message(
        Address(5, 0, "Etaten"), Address(1, 1, "4799999500"), b"Hei", registered_delivery=1, data_coding=8
    )
    assert message.to_bytes() == (b"\0\x05\x00Etaten\0\x01\x014799999500\0\x00\x00\x00\0\0\x01\x00\x08\x00\x03Hei")
    assert Pdu(4, 7, body=b"ab").to_bytes() == b"\0\0\0\x12\0\0\0\x04\0\0\0\0\0\0\0\x07ab"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bind("s" * 16, ""),
        lambda: Bind("s", "p" * 9),
        lambda: Bind("s\0x", "p"),
        lambda: Bind("sø", "p"),
        lambda: Message(Address(5, 0, "A\0B"), Address(1, 1, "47")),
        lambda: Message(Address(5, 0, "A" * 21), Address(1, 1, "47")),
        lambda: Message(Address(5, 0, "A"), Address(1, 1, "47"), b"x" * 255),
        lambda: Message(Address(5, 0, "Ø"), Address(1, 1, "47")),
    ],
)
def test_what_would_leave_its_field_is_not_written(make: Callable[[], Bind | Message]) -> None:
    with pytest.raises(ValueError, match=r"field|octets"):
        make().to_bytes()


@given(st.binary(max_size=400))
@pytest.mark.assertion("channels", 89)
def test_any_bytes_are_a_body_or_malformed(body: bytes) -> None:
    for read in (read_message, read_data, read_bind, read_message_id):
        with suppress(Malformed):
            read(body)


@given(messages, st.data())
def test_a_message_that_is_cut_short_is_malformed_or_has_lost_optional_parameters_alone(
    message: Message, data: st.DataObject
) -> None:
    written = message.to_bytes()
    mandatory = len(Message(**{**{n: getattr(message, n) for n in message.__slots__}, "tlvs": {}}).to_bytes())
    cut = data.draw(st.integers(0, len(written)))
    try:
        found = read_message(written[:cut])
    except Malformed:
        return
    assert cut >= mandatory
    assert found.short_message == message.short_message
    assert found.tlvs.items() <= message.tlvs.items()


def test_the_first_of_repeated_parameters_counts_and_a_stump_is_left_out() -> None:
    body = Message(Address(0, 0, ""), Address(0, 0, "")).to_bytes()
    assert read_message(body + b"\0\x05\0\x01a" + b"\0\x05\0\x01b" + b"\0\x06\0").tlvs == {5: b"a"}


@given(letters(64))
def test_a_message_id_comes_back_and_none_is_empty(value: str) -> None:
    assert read_message_id(message_id(value)) == value
    assert read_message_id(b"") == ""


# The stream


async def read_all(octets: bytes, piece: int = 0) -> list[Pdu | str]:
    """What a reader finds, with the octets in pieces (0: at once), up to how it ended."""
    reader = asyncio.StreamReader()
    for start in range(0, len(octets), piece or max(len(octets), 1)):
        reader.feed_data(octets[start : start + (piece or len(octets))])
    reader.feed_eof()
    found: list[Pdu | str] = []
    while True:
        try:
            found.append(await read_pdu(reader))
        except (Ended, Malformed) as end:
            return [*found, type(end).__name__]


@given(st.lists(pdus, max_size=5), st.integers(0, 3))
@pytest.mark.assertion("channels", 89)
def test_pdus_are_read_however_their_bytes_are_cut(sent: list[Pdu], piece: int) -> None:
    octets = b"".join(pdu.to_bytes() for pdu in sent)
    assert asyncio.run(read_all(octets, piece)) == [*sent, "Ended"]


@pytest.mark.parametrize("length", [0, 1, 12, 15, MAX_PDU_BYTES + 1, 10 * 1024 * 1024, 0xFFFFFFFF])
@pytest.mark.assertion("channels", 89)
def test_a_length_that_no_pdu_has_ends_the_reading_before_anything_more_is_read(length: int) -> None:
    assert asyncio.run(read_all(length.to_bytes(4) + bytes(12) + b"more" * 1000)) == ["Malformed"]
    with pytest.raises(Malformed):
        _ = read_header(length.to_bytes(4) + bytes(12)).body_bytes


@given(st.binary(max_size=300))
def test_any_stream_comes_to_an_end(octets: bytes) -> None:
    *found, end = asyncio.run(read_all(octets))
    assert end in {"Ended", "Malformed"}
    assert sum(HEADER_BYTES + len(pdu.body) for pdu in found if isinstance(pdu, Pdu)) <= len(octets)


# The alphabet

gsm_texts = st.text(
    alphabet=st.sampled_from(
        "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCXYZÄÖÑÜ§¿abcxyzäöñüà\f^{}\\[~]|€"
    )
)


@given(gsm_texts)
def test_a_text_of_the_small_alphabet_comes_back_and_takes_as_many_octets_as_septets(text: str) -> None:
    assert decode(encode(text)) == text
    assert (segment(text).alphabet, segment(text).units) == (Alphabet.GSM_7, len(encode(text)))


@given(st.binary())
def test_any_octets_are_a_text(octets: bytes) -> None:
    assert segment(decode(octets).replace("\x1b", "")).alphabet is Alphabet.GSM_7


@pytest.mark.parametrize(("text", "octets"), [("@", b"\0"), ("§", b"\x5f"), ("à", b"\x7f"), ("€", b"\x1b\x65")])
@pytest.mark.assertion("channels", 68)
def test_characters_have_the_codes_of_the_standard(text: str, octets: bytes) -> None:
    assert encode(text) == octets


@pytest.mark.parametrize("character", "`ç–ж\x1b\t")
def test_what_is_not_in_the_alphabet_is_not_coded_as_something_else(character: str) -> None:
    with pytest.raises(KeyError):
        encode(character)
