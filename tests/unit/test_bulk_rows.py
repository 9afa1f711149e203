"""What a row becomes: its recipient, its texts, or what is wrong with it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.bulk.job import Flaw, JobId, Kind, Wish
from varsel.bulk.keywords import fill, fold, names_in, unknown
from varsel.bulk.result import harmless
from varsel.bulk.rows import Checker, recipient_of
from varsel.bulk.table import Row
from varsel.bulk.wishes import Guess, guess, misfits
from varsel.domain.content import Content, Strictness
from varsel.domain.ids import uuid7
from varsel.domain.order import EmailTemplate, Lane, OrderChannel, Recipient, SmsTemplate
from varsel.domain.schemes import NORWEGIAN

INGRID = "14838510036"
NOW = datetime(2026, 11, 26, 9, tzinfo=UTC)
COLUMNS = ("fnr", "Navn", "Sak")
WISH = Wish(
    "FNR",
    Kind.PERSON,
    OrderChannel.EMAIL_PREFERRED,
    EmailTemplate("noreply@example.com", "Sak {sak}", "Hei {navn}"),
    SmsTemplate("Varsel", "Hei {navn}, se {{sak}}"),
    senders_reference="{sak}",
)


ANYTHING = Content()


def checker(wish: Wish = WISH, content: Content = ANYTHING) -> Checker:
    return Checker(wish, COLUMNS, NORWEGIAN, content)


@given(st.text(max_size=40), st.dictionaries(st.sampled_from(["a", "b", "c d"]), st.text(max_size=10)))
def test_a_text_is_filled_in_one_pass_and_without_keywords_it_stays(text: str, values: dict[str, str]) -> None:
    plain = text.replace("{", "").replace("}", "")
    assert fill(plain, values) == plain
    names = {"a", "b", "c d"}
    full = {name: values.get(name, "{a}") for name in names}
    assert fill("{a}{{a}}{ C  D }", full) == f"{full['a']}{{a}}{full['c d']}"


def test_keywords_are_found_whatever_their_case_and_css_is_none() -> None:
    text = "{Navn} {  c   D} {{literal}} p {color:red;} {\n}"
    assert names_in(text, None) == {"navn", "c d"}
    assert unknown(names_in(text), ["NAVN"]) == ["c d"]
    assert fill("{x}", {"x": "<b>"}, markup=True) == "&lt;b&gt;"
    assert fold("  A  b ") == "a b"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (Kind.PERSON, INGRID, Recipient(national_identity_number=INGRID)),
        (Kind.PERSON, "148385 10036", Recipient(national_identity_number=INGRID)),
        (Kind.PERSON, "1916012086", Recipient(national_identity_number="01916012086")),  # as a spreadsheet keeps it
        (Kind.PERSON, "1483851003", Flaw.NOT_A_PERSON),
        (Kind.PERSON, "310001007", Flaw.NOT_A_PERSON),
        (Kind.PERSON, "", Flaw.EMPTY),
        (Kind.ORGANISATION, "310 001 007", Recipient(organisation_number="310001007")),
        (Kind.ORGANISATION, INGRID, Flaw.NOT_AN_ORGANISATION),
        (Kind.IDENTITY, INGRID, Recipient(national_identity_number=INGRID)),
        (Kind.IDENTITY, "310001007", Recipient(organisation_number="310001007")),
        (
            Kind.IDENTITY,
            "urn:altinn:party:username:kari",
            Recipient(external_identity="urn:altinn:party:username:kari"),
        ),
        (Kind.IDENTITY, "kari", Flaw.NOT_AN_IDENTITY),
        (Kind.EXTERNAL_IDENTITY, "urn:no:such:thing", Flaw.NOT_AN_EXTERNAL_IDENTITY),
        (Kind.EMAIL, "kari@example.com", Recipient(email="kari@example.com")),
        (Kind.EMAIL, "kari", Flaw.NOT_AN_EMAIL),
        (Kind.MOBILE, "+47 999 99 501", Recipient(mobile="+4799999501")),
        (Kind.MOBILE, "99999501", Recipient(mobile="+4799999501")),
        (Kind.MOBILE, "4799999501", Recipient(mobile="+4799999501")),
        (Kind.MOBILE, "12", Flaw.NOT_A_MOBILE),
    ],
)
def test_a_field_is_a_recipient_or_says_why_not(kind: Kind, value: str, expected: Recipient | Flaw) -> None:
    assert recipient_of(kind, value, NORWEGIAN) == expected


@given(st.sampled_from(Kind), st.text(max_size=30))
def test_any_field_is_a_recipient_or_a_problem(kind: Kind, value: str) -> None:
    assert isinstance(recipient_of(kind, value.strip(), NORWEGIAN), Recipient | Flaw)


def test_a_row_says_its_problems_with_their_columns() -> None:
    found = checker().check(Row(7, ("12", "", "$recipientName$", "more")))
    assert [(p.line, p.column, p.problem) for p in found.problems] == [
        (7, "", Flaw.TOO_MANY_FIELDS),
        (7, "Navn", Flaw.EMPTY),
        (7, "Sak", Flaw.HAS_KEYWORD),
        (7, "fnr", Flaw.NOT_A_PERSON),
    ]
    assert found.key is None


def test_a_text_that_is_too_long_or_links_elsewhere_is_told_before_it_is_sent() -> None:
    strict = Content(links=Strictness.ENFORCE, link_domains=("fjordvik.example",))
    good = checker(content=strict).check(Row(2, (INGRID, "https://fjordvik.example/a", "1")))
    bad = checker(content=strict).check(Row(3, (INGRID, "https://elsewhere.example/a", "1")))
    long = checker().check(Row(4, (INGRID, "æ" * 5_000, "1")))
    assert good.problems == ()
    assert [p.problem for p in bad.problems] == [Flaw.FORBIDDEN_LINK]
    assert [p.problem for p in long.problems] == [Flaw.TOO_LONG]


def test_rows_repeat_each_other_when_recipient_and_used_fields_are_the_same() -> None:
    keys = [
        checker().check(Row(line, (who, name, "1"))).key
        for line, who, name in [(2, INGRID, "Ingrid"), (3, "148385 10036", "Ingrid"), (4, INGRID, "Inger")]
    ]
    assert keys[0] == keys[1] != keys[2]


def test_the_order_of_a_row_is_bulk_filled_and_always_has_the_same_idempotency_id() -> None:
    job, row, who = JobId(uuid7()), Row(2, (INGRID, "Ingrid", "4471")), Recipient(national_identity_number=INGRID)
    chain, order = checker().order(job, "ttd", row, who, NOW)
    again, other = checker().order(job, "ttd", row, who, NOW)
    assert (chain.idempotency_id, chain.request_hash) == (again.idempotency_id, again.request_hash)
    assert order.id != other.id
    assert (order.lane, order.channel, order.senders_reference) == (Lane.BULK, OrderChannel.EMAIL_PREFERRED, "4471")
    assert order.email == EmailTemplate("noreply@example.com", "Sak 4471", "Hei Ingrid")
    assert order.sms == SmsTemplate("Varsel", "Hei Ingrid, se {sak}")


def test_a_wish_that_does_not_fit_the_file_is_told_part_by_part() -> None:
    assert list(misfits(WISH, COLUMNS)) == []
    wrong = Wish("id", Kind.EMAIL, OrderChannel.SMS, sms=SmsTemplate("x", "{ukjent}"))
    assert [part for part, _ in misfits(wrong, COLUMNS)] == ["recipient_column", "channel", "sms.body"]
    bare = Wish("fnr", Kind.PERSON, OrderChannel.EMAIL_AND_SMS)
    assert [part for part, _ in misfits(bare, COLUMNS)] == ["email", "sms"]


def test_the_column_of_recipients_is_guessed_by_its_name_or_by_what_it_holds() -> None:
    rows = [("Ingrid", INGRID, "a@example.com"), ("Siri", "01916012086", "b@example.com")]
    assert guess(("navn", "Fødselsnummer", "E-post"), rows, NORWEGIAN) == Guess("Fødselsnummer", Kind.PERSON)
    assert guess(("navn", "x", "y"), rows, NORWEGIAN) == Guess("x", Kind.PERSON)
    assert guess(("navn",), [("Ingrid",)], NORWEGIAN) is None


@pytest.mark.parametrize(
    ("field", "shown"), [("=1+1", "'=1+1"), ("@x", "'@x"), ("+4799999501", "+4799999501"), (INGRID, INGRID)]
)
def test_no_field_of_the_result_is_taken_for_a_formula(field: str, shown: str) -> None:
    assert harmless(field) == shown
