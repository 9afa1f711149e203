"""LINK's delivery reports: channels 3.3, 4.4.2, 5.4, 5.6 and assertions 79-82, 85; http-api 21.1."""

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from varsel.delivery.ports import Verdict
from varsel.domain.notification import Channel, Reason
from varsel.providers.link_reports import ReportDocument, acknowledge, malformed_report, parse_reports
from varsel.providers.link_xml import Malformed

DECLARATION = '<?xml version="1.0"?>'


def msg(id_: str = "1", ref: str = "984342374", rcv: str = "4790000000", state: str = "DELIVRD", more: str = "") -> str:
    return f"<MSG><ID>{id_}</ID><REF>{ref}</REF><RCV>{rcv}</RCV><STATE>{state}</STATE>{more}</MSG>"


def document(*messages: str, head: str = DECLARATION) -> bytes:
    return f"{head}<MSGLST>{''.join(messages)}</MSGLST>".encode("iso-8859-1")


def parse(body: bytes, content_type: str | None = None) -> ReportDocument:
    return parse_reports("link-main", body, content_type)


def test_the_report_of_the_contract_is_understood() -> None:
    delivered = "<DELIVERYTIME>2026.08.20 13:05:12</DELIVERYTIME>"
    parsed = parse(document(msg(more=delivered)), "application/xml")
    (report,) = parsed.reports
    assert parsed.ids == ("1",)
    assert (report.provider, report.channel, report.reference) == ("link-main", Channel.SMS, "984342374")
    assert (report.verdict, report.raw_state, report.reason) == (Verdict.DELIVERED, "DELIVRD", None)
    assert report.notification is None
    assert report.payload == {
        "reference": "984342374",
        "receiver": "4790000000",
        "state": "DELIVRD",
        "deliveryTime": "2026.08.20 13:05:12",
    }


@pytest.mark.parametrize(
    ("state", "verdict", "reason", "soft"),
    [
        ("DELIVRD", Verdict.DELIVERED, None, False),
        ("EXPIRED", Verdict.FAILED, Reason.EXPIRED_AT_PROVIDER, False),
        ("DELETED", Verdict.FAILED, Reason.DELETED, False),
        ("UNDELIV", Verdict.FAILED, Reason.UNDELIVERED, False),
        ("REJECTD", Verdict.FAILED, Reason.REJECTED, False),
        ("FAILED", Verdict.FAILED, Reason.UNSPECIFIED, False),
        ("NULL", Verdict.FAILED, Reason.UNSPECIFIED, True),
        ("UNKNOWN", Verdict.FAILED, Reason.UNSPECIFIED, True),
        ("BARRED", Verdict.FAILED, Reason.BARRED_RECEIVER, False),
        ("BARREDA", Verdict.FAILED, Reason.REJECTED, False),
        ("ZEROBAL", Verdict.FAILED, Reason.UNSPECIFIED, False),
        ("SOMETHING", Verdict.UNRECOGNISED, None, False),
        ("delivrd", Verdict.UNRECOGNISED, None, False),
        ("1", Verdict.UNRECOGNISED, None, False),
        ("0", Verdict.UNRECOGNISED, None, False),
    ],
)
@pytest.mark.assertion("processing", 107)
@pytest.mark.assertion("channels", 9, 79, 82)
def test_each_state_has_its_meaning_and_none_is_guessed(
    state: str, verdict: Verdict, reason: Reason | None, soft: bool
) -> None:
    (report,) = parse(document(msg(state=state))).reports
    assert (report.verdict, report.reason, report.soft, report.raw_state) == (verdict, reason, soft, state)


def test_every_message_of_a_document_is_taken_and_answered_by_its_id() -> None:
    parsed = parse(document(*(msg(str(n), ref=f"R{n}") for n in (7, 3, 12))))
    assert [report.reference for report in parsed.reports] == ["R7", "R3", "R12"]
    assert acknowledge(parsed.ids) == (
        b'<?xml version="1.0"?><MSGLST><MSG><ID>7</ID><STATUS>OK</STATUS></MSG>'
        b"<MSG><ID>3</ID><STATUS>OK</STATUS></MSG><MSG><ID>12</ID><STATUS>OK</STATUS></MSG></MSGLST>"
    )


def test_one_report_is_acknowledged_as_the_contract_shows() -> None:
    expected = b'<?xml version="1.0"?><MSGLST><MSG><ID>1</ID><STATUS>OK</STATUS></MSG></MSGLST>'
    assert acknowledge(parse(document(msg())).ids) == expected


@given(st.lists(st.text(max_size=20), max_size=5))
def test_an_acknowledgement_is_ascii_whatever_the_ids(ids: list[str]) -> None:
    answer = acknowledge(ids)
    assert answer.isascii()
    assert answer.count(b"<MSG>") == len(ids)


def test_an_incomplete_message_costs_its_neighbours_nothing() -> None:
    incomplete = "<MSG><ID>2</ID><REF>R2</REF><RCV>4790000000</RCV></MSG>"
    parsed = parse(document(msg("1"), incomplete, msg("3")))
    assert parsed.ids == ("1", "2", "3")
    assert [r.verdict for r in parsed.reports] == [Verdict.DELIVERED, Verdict.UNRECOGNISED, Verdict.DELIVERED]


def test_a_repeat_has_the_same_key_and_any_other_event_another() -> None:
    def key(message: str, provider: str = "link-main") -> str:
        return parse_reports(provider, document(message), None).reports[0].event_key

    first = key(msg())
    assert key(msg(id_="2")) == first
    others = [
        key(msg(), provider="link-spare"),
        key(msg(ref="984342375")),
        key(msg(state="UNDELIV")),
        key(msg(rcv="4790000001")),
        key(msg(more="<DELIVERYTIME>2026.08.20 13:05:12</DELIVERYTIME>")),
    ]
    assert len({first, *others}) == 6


DOCTYPE = '<!DOCTYPE MSGLST SYSTEM "pswincom_report_request.dtd">'


@pytest.mark.parametrize(
    ("head", "content_type"),
    [
        (DECLARATION + DOCTYPE, "application/xml"),
        ("", "text/plain"),
        ("", None),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>', None),
        ("\n <!-- a comment -->", None),
    ],
)
@pytest.mark.assertion("channels", 85)
def test_a_genuine_head_is_accepted(head: str, content_type: str | None) -> None:
    assert len(parse(document(msg(), head=head), content_type).reports) == 1


def test_namespaces_and_unknown_elements_are_ignored() -> None:
    body = b'<p:MSGLST xmlns:p="urn:x"><p:MSG>' + msg("1", more="<NEW><DEEP>x</DEEP></NEW>").encode()[5:]
    body = body.replace(b"</MSG>", b"</p:MSG></p:MSGLST>")
    assert parse(body).reports[0].verdict is Verdict.DELIVERED


@pytest.mark.parametrize(
    ("content_type", "head", "encode"),
    [
        ("application/xml; charset=utf-8", "", lambda t: t.encode()),
        ('text/plain; Charset="UTF-8"', '<?xml version="1.0" encoding="ISO-8859-1"?>', lambda t: t.encode()),
        ("application/xml", '<?xml version="1.0" encoding="UTF-8"?>', lambda t: t.encode()),
        ("application/xml", "", lambda t: t.encode("utf-8-sig")),
        ("application/xml", DECLARATION, lambda t: t.encode("iso-8859-1")),
        (None, "", lambda t: t.encode("iso-8859-1")),
    ],
)
def test_the_character_set_comes_from_the_content_type_then_the_declaration_then_is_latin_1(
    content_type: str | None, head: str, encode: Callable[[str], bytes]
) -> None:
    body = encode(f"{head}<MSGLST>{msg(ref='Ærøåé')}</MSGLST>")
    assert parse(body, content_type).reports[0].reference == "Ærøåé"


def nested(depth: int) -> bytes:
    return document(msg(more="<A>" * depth + "</A>" * depth))


ENTITY = '<!DOCTYPE MSGLST [<!ENTITY a "DELIVRD">]>'
EXTERNAL = '<!DOCTYPE MSGLST [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
BOMB = '<!DOCTYPE MSGLST [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;">]>'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"no xml",
        b"\xff\xfe",
        b"<MSGLST>",
        b"<MSGLST/>",
        b"<MSGLST></MSGLST><MSGLST/>",
        b"<OTHER><MSGLST>" + msg().encode() + b"</MSGLST></OTHER>",
        document("<MSG/>"),
        document("<MSG><ID>1</ID><REF>r</REF><RCV>4790000000</RCV></MSG>"),
        document("<MSG><ID>1</ID><RCV>4790000000</RCV><STATE>DELIVRD</STATE></MSG>"),
        document("<MSG><REF>r</REF><RCV>4790000000</RCV><STATE>DELIVRD</STATE></MSG>"),
        document(msg(state="&a;")),
        document(msg(state="&a;"), head=DOCTYPE),
        document(msg(state="&a;"), head=ENTITY),
        document(msg(state="&a;"), head=EXTERNAL),
        document(msg(state="&c;"), head=BOMB),
        document(msg(), head=ENTITY),
        document(msg()).decode().encode("utf-16"),
        document(msg()).decode().encode("utf-16-le"),
        document(msg()).decode().encode("utf-32"),
        document(msg(), head='<?xml version="1.0" encoding="UTF-7"?>'),
        document(msg(), head='<?xml version="1.0" encoding="no-such"?>'),
        document(msg(more=f"<INFO>{'x' * 2001}</INFO>")),
        document(msg(more="<X/>" * 10_000)),
        document(*(msg(str(n)) for n in range(1001))),
        nested(7),
    ],
)
@pytest.mark.assertion("channels", 85)
def test_a_document_that_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed) as problem:
        parse(body)
    assert "4790000000" not in str(problem.value)


def test_the_limits_themselves_are_allowed() -> None:
    assert len(parse(document(*(msg(str(n)) for n in range(1000)))).reports) == 1000
    assert len(parse(document(msg(more=f"<INFO>{'x' * 2000}</INFO>"))).reports) == 1
    assert len(parse(nested(6)).reports) == 1


pieces = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.sampled_from(
            [
                b"<MSGLST>",
                b"</MSGLST>",
                b"<MSG>",
                b"</MSG>",
                b"<ID>1</ID>",
                b"<REF>r</REF>",
                b"<RCV>47</RCV>",
                b"<STATE>NULL</STATE>",
                b"&amp;",
                b"&x;",
                b"<![CDATA[",
                b"]]>",
                b"<!DOCTYPE MSGLST [",
                b'<!ENTITY x "y">',
                b"]>",
                b'<?xml version="1.0" encoding="utf-8"?>',
            ]
        ),
    ),
    max_size=12,
).map(b"".join)


@given(st.binary() | pieces, st.none() | st.text(max_size=40) | st.just("text/plain; charset=utf-8"))
@example(b"<MSGLST>", "text/plain; charset=\0")
def test_any_bytes_are_reports_or_malformed_and_nothing_else(body: bytes, content_type: str | None) -> None:
    try:
        parsed = parse(body, content_type)
    except Malformed as problem:
        kept = malformed_report("link-main", body, problem)
        assert kept.verdict is Verdict.UNRECOGNISED
        assert "\0" not in kept.payload["document"]
    else:
        assert parsed.reports
