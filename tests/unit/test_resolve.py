"""The channel decision tables of processing 4.6, and the properties behind them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import OrderChannel, Recipient
from varsel.recipients.lookup import Query, Reach, clean_organisation, summarise
from varsel.recipients.ports import OrganisationContact, UserContact
from varsel.resolution.resolve import distinct_recipients, resolve

E, M = "e@example.com", "+4799999501"
PERSON = Recipient(national_identity_number="14838510036")
ORGANISATION = Recipient(organisation_number="310001007")
BOTH = frozenset(Channel)


def outcome(channel: str, reach: Reach, recipient: Recipient = PERSON, *, ignore: bool = False) -> str:
    """What becomes of one recipient: `E` and `S` for a message, `e…` and `s…` for a failure, in words short enough."""
    drafts = resolve(OrderChannel(channel), [(recipient, reach)], ignore_reservation=ignore, templates=BOTH)
    words = []
    for draft in drafts:
        letter = "E" if draft.channel is Channel.EMAIL else "S"
        if draft.state is State.NEW:
            words.append(f"{letter}:{draft.address}" if recipient is not PERSON else letter)
        else:
            assert draft.address == ""
            short = {Reason.RECIPIENT_NOT_IDENTIFIED: "none", Reason.RECIPIENT_RESERVED: "reserved"}
            words.append(f"{letter.lower()}-{short[draft.reason or Reason.UNSPECIFIED]}")
    return " ".join(words)


@pytest.mark.parametrize(
    ("channel", "both", "email", "mobile", "neither"),
    [
        ("Email", "E", "E", "e-none", "e-none"),
        ("Sms", "S", "s-none", "S", "s-none"),
        ("EmailPreferred", "E", "E", "S", "e-none"),
        ("SmsPreferred", "S", "E", "S", "s-none"),
        ("EmailAndSms", "E S", "E s-none", "S e-none", "e-none s-none"),
    ],
)
@pytest.mark.assertion("processing", 60, 61, 62, 65)
def test_a_person_is_reached_as_the_table_says(channel: str, both: str, email: str, mobile: str, neither: str) -> None:
    reaches = [Reach((E,), (M,)), Reach((E,)), Reach((), (M,)), Reach()]
    assert [outcome(channel, reach) for reach in reaches] == [both, email, mobile, neither]


@pytest.mark.parametrize(
    ("channel", "both", "email", "mobile", "neither"),
    [
        ("Email", "e", "e", "e", "e"),
        ("Sms", "s", "s", "s", "s"),
        ("EmailPreferred", "e", "e", "s", "e"),
        ("SmsPreferred", "s", "e", "s", "s"),
        ("EmailAndSms", "e s", "e s", "e s", "e s"),
    ],
)
@pytest.mark.assertion("processing", 63, 64)
def test_a_reserved_person_is_recorded_as_the_table_says(
    channel: str, both: str, email: str, mobile: str, neither: str
) -> None:
    reaches = [Reach(e, m, reserved=True) for e, m in [((E,), (M,)), ((E,), ()), ((), (M,)), ((), ())]]
    expected = [" ".join(f"{letter}-reserved" for letter in cell.split()) for cell in (both, email, mobile, neither)]
    assert [outcome(channel, reach) for reach in reaches] == expected


def test_a_reservation_that_is_ignored_changes_nothing() -> None:
    for channel in OrderChannel:
        for reach in [Reach((E,), (M,)), Reach((E,)), Reach((), (M,)), Reach()]:
            reserved = Reach(reach.emails, reach.mobiles, reserved=True)
            assert outcome(channel, reserved, ignore=True) == outcome(channel, reach)


@pytest.mark.assertion("processing", 66)
def test_an_organisation_falls_back_for_its_official_list_and_for_each_user_separately() -> None:
    users = (UserContact(1, None, "+4799999502"), UserContact(2, "u@example.com", "+4799999503"))
    reach = Reach(("a@example.com", "b@example.com"), (M,), users)
    assert outcome("EmailPreferred", reach, ORGANISATION) == (
        "E:a@example.com E:b@example.com E:u@example.com S:+4799999502"
    )
    assert outcome("SmsPreferred", reach, ORGANISATION) == f"S:{M} S:+4799999502 S:+4799999503"
    assert outcome("Email", reach, ORGANISATION) == "E:a@example.com E:b@example.com E:u@example.com"
    assert outcome("Sms", reach, ORGANISATION) == f"S:{M} S:+4799999502 S:+4799999503"


@pytest.mark.assertion("processing", 78)
def test_a_direct_recipient_with_both_addresses_is_told_on_both_under_a_preferred_channel() -> None:
    reach = Reach((E,), (M,), direct=True)
    direct = Recipient(email=E, mobile=M)
    for channel in ("EmailPreferred", "SmsPreferred", "EmailAndSms"):
        assert outcome(channel, reach, direct) == f"E:{E} S:{M}"
    assert outcome("EmailAndSms", Reach((E,), (), direct=True), Recipient(email=E)) == f"E:{E} s-none"


@pytest.mark.assertion("processing", 77)
def test_the_same_identifier_twice_counts_twice_on_one_channel_and_once_on_a_preferred_one() -> None:
    people = [PERSON, Recipient(email=E), Recipient(email=E), PERSON]
    assert len(distinct_recipients(OrderChannel.EMAIL, people)) == 4
    assert len(distinct_recipients(OrderChannel.EMAIL_PREFERRED, people)) == 3


addresses = st.lists(st.sampled_from(["a@example.com", "b@example.com", "c@example.com"]), unique=True, max_size=3)
mobiles = st.lists(st.sampled_from(["+4799999501", "+4799999502", "+4799999503"]), unique=True, max_size=3)
users = st.builds(
    UserContact,
    st.integers(1, 9),
    st.none() | st.sampled_from(["u@example.com", "v@example.com"]),
    st.none() | st.sampled_from(["+4799999504", "+4799999505"]),
)
reaches = st.builds(
    Reach,
    addresses.map(tuple),
    mobiles.map(tuple),
    st.lists(users, max_size=3).map(tuple),
    reserved=st.booleans(),
    direct=st.just(False),
)


@given(
    st.sampled_from(OrderChannel),
    st.lists(reaches, min_size=1, max_size=5),
    st.booleans(),
    st.sets(st.sampled_from(Channel)),
)
def test_every_recipient_gets_at_least_one_notification_and_every_failure_says_why(
    channel: OrderChannel, found: list[Reach], ignore: bool, templates: set[Channel]
) -> None:
    for reach in found:
        drafts = list(
            resolve(channel, [(ORGANISATION, reach)], ignore_reservation=ignore, templates=frozenset(templates))
        )
        assert drafts
        for draft in drafts:
            assert (draft.state is State.FAILED) == (draft.reason is not None)
            assert draft.state is not State.NEW or draft.channel in templates
            assert draft.state is not State.NEW or not reach.reserved or ignore
            assert bool(draft.address) or draft.state is State.FAILED


@given(
    st.lists(st.sampled_from(["A@example.com", "a@EXAMPLE.com", "b@example.com", " ", ""]), max_size=5),
    st.lists(st.sampled_from(["99999501", "004799999501", "+4799999501", "+4799999502", "12", ""]), max_size=5),
    st.lists(
        st.builds(
            UserContact,
            st.integers(1, 9),
            st.none() | st.sampled_from(["a@example.com", "U@example.com", "u@example.com", ""]),
            st.none() | st.sampled_from(["99999501", "+4799999503", "12", ""]),
        ),
        max_size=4,
    ),
)
@pytest.mark.assertion("processing", 73, 74, 80)
def test_an_organisations_addresses_are_valid_and_nobody_gets_the_same_one_twice(
    emails: list[str], numbers: list[str], people: list[UserContact]
) -> None:
    reach = clean_organisation(OrganisationContact(tuple(emails), tuple(numbers), "310001007"), people)
    all_emails = [*reach.emails, *(u.email for u in reach.users if u.email)]
    all_numbers = [*reach.mobiles, *(u.mobile for u in reach.users if u.mobile)]
    assert len({e.lower() for e in all_emails}) == len(all_emails)
    assert len(set(all_numbers)) == len(all_numbers)
    assert all(n.startswith("+47999995") for n in all_numbers)
    assert all(u.email or u.mobile for u in reach.users)


R, R0, N, OK = "01916012086", "17889218002", "05854515049", "14838510036"
PEOPLE = {R: Reach((E,), (), reserved=True), R0: Reach(reserved=True), N: Reach(), OK: Reach((E,))}


@pytest.mark.parametrize(
    ("ids", "status", "reserved", "missing"),
    [
        ([OK, OK, OK], "Success", (), ()),
        ([OK, OK, R], "PartialSuccess", (R,), ()),
        ([OK, OK, N], "PartialSuccess", (), (N,)),
        ([R], "Failed", (R,), ()),
        ([R0], "Failed", (R0,), ()),
        ([R, N], "Failed", (R,), (N,)),
        ([N, N], "Failed", (), (N,)),  # distinct identifiers count
    ],
)
@pytest.mark.assertion("processing", 2, 4)
def test_the_sender_is_told_who_can_be_reached(
    ids: list[str], status: str, reserved: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    people = [Recipient(email="direct@example.com"), *(Recipient(national_identity_number=i) for i in ids)]
    found = [Reach((E,), direct=True), *(PEOPLE[i] for i in ids)]
    summary = summarise(Query(OrderChannel.EMAIL, people), found)
    assert summary is not None
    assert (summary.status, summary.is_reserved, summary.missing_contact) == (status, reserved, missing)


def test_direct_recipients_alone_give_no_lookup_result() -> None:
    assert summarise(Query(OrderChannel.EMAIL, [Recipient(email=E)]), [Reach((E,), direct=True)]) is None
