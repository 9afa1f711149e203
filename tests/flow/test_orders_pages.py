"""Search, orders, one order, one recipient and the lookup explorer: what they answer, to whom, and what they hide."""

import csv
import io
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from orders_world import BAKERY, INGRID, NOBODY, RESERVED, Visitor, World, fill, visitor, world
from varsel.db import Database, execute, fetch, fetch_value
from varsel.delivery.ports import Verdict
from varsel.domain.ids import OrderId, uuid7
from varsel.domain.notification import Channel, Reason, State
from varsel.domain.order import OrderState
from varsel.status.explain import tell
from varsel.status.explain_store import find_facts
from varsel.ui import order_store, orders_store, recipient_store, search_store
from varsel.ui.access import Role
from varsel.ui.orders_store import Filter
from varsel.ui.verdict import Fate

SECRETS = (INGRID, INGRID[6:], RESERVED, "ingrid@", "siri@", "40000417", "400 00 417", "Ingrid Berg", "post@bakeri")


@pytest.fixture
async def w(database: Database) -> AsyncIterator[World]:
    async with world(database) as made:
        yield made


@pytest.fixture
async def filled(w: World) -> dict[str, OrderId]:
    return await fill(w)


@pytest.fixture
async def marit(w: World) -> AsyncIterator[Visitor]:
    async with visitor(w) as somebody:
        yield somebody


def first_sentence(page: str) -> str:
    found = re.search(r'class="say" id="v">(.*?)</h2>', page, re.S)
    assert found
    return " ".join(found[1].split())


async def audited(w: World) -> list[tuple[str, str | None]]:
    """What was written down, and about whom."""
    async with w.road.db.reading() as conn:
        return await fetch(conn, "SELECT action, about_key FROM audit ORDER BY id", {}, lambda *row: row)


# Search


async def test_a_search_leads_straight_to_what_it_names(w: World, filled: dict[str, OrderId], marit: Visitor) -> None:
    order = filled["bounced"]
    (row,) = await w.road.rows(order)
    assert await marit.search(f" {order} ") == f"/ui/orders/{order}"
    assert await marit.search(str(row.id)) == f"/ui/orders/{order}?n={row.id}"
    assert await marit.search("FVK-2026-11-3908") == f"/ui/orders/{order}"
    for text in (INGRID, "148385 10036", "310 001 007", "Far3@strand.example", "400 00 417", "+4740000417"):
        location = await marit.search(text)
        assert re.fullmatch(r"/ui/recipients/[\w-]{20,}", location), text
        assert not any(secret in location for secret in SECRETS)


async def test_several_hits_are_a_list_and_none_is_said(w: World, marit: Visitor) -> None:
    orders = [await w.letter(senders_reference="same") for _ in range(2)]
    _, page, _ = await marit.post("/ui/search", q="same")
    assert all(f'href="/ui/orders/{order}"' in page for order in orders)
    assert "2 hits." in page
    for text in ("nothing of the kind", str(uuid7())):
        status, page, _ = await marit.post("/ui/search", q=text)
        assert (status, "No hits." in page) == (200, True)
    assert "Write what to search for" in (await marit.post("/ui/search", q=" "))[1]
    assert "Write what to search for" in await marit.get("/ui/search")


async def test_the_answer_of_a_form_leads_back_to_its_page(w: World, marit: Visitor) -> None:
    for page, act in (("/ui/recipients/x", "reveal"), (f"/ui/orders/{uuid7()}", "cancel")):
        async with marit.http.get(f"{page}/{act}?lang=nb", allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, f"{page}?lang=nb")


async def test_what_is_sought_is_written_down(w: World, filled: dict[str, OrderId], marit: Visitor) -> None:
    await marit.get(await marit.search(INGRID))
    assert (await audited(w))[-2:] == [("search", INGRID), ("history", INGRID)]


# Who may see what


async def test_a_viewer_sees_orders_and_neither_people_nor_texts(w: World, filled: dict[str, OrderId]) -> None:
    async with visitor(w, Role.VIEWER) as viewer:
        _, page, _ = await viewer.post("/ui/search", q=INGRID)
        assert "You cannot look up recipients" in page
        assert INGRID not in str(await audited(w))
        for path in ("/ui/recipients", "/ui/lookup"):
            await viewer.get(path, 403)
        page = await viewer.get(f"/ui/orders/{filled['bounced']}")
        assert first_sentence(page).startswith("No.")
        assert "Solbakken" not in page
        assert "Barnehageplass" not in page + await viewer.get("/ui/orders")
        (row,) = await w.road.rows(filled["bounced"])
        assert (await viewer.post("/ui/recipients/of", n=str(row.id)))[0] == 403
        assert (await viewer.post(f"/ui/orders/{filled['planned']}/cancel"))[0] == 403
    assert await w.road.state(filled["planned"]) == OrderState.REGISTERED


async def test_a_creator_admin_sees_what_their_creator_sent_alone(w: World, filled: dict[str, OrderId]) -> None:
    own = await w.letter(creator="Havneetaten", senders_reference="FVK-2026-11-4471")
    await w.run()
    async with visitor(w, Role.CREATOR_ADMIN, creator="Havneetaten") as admin:
        for path in ("/ui/orders", "/ui/orders?creator=Fjordvik+kommune", "/ui/orders.csv"):
            page = await admin.get(path)
            assert str(own) in page
            assert "Fjordvik kommune" not in page
        await admin.get(f"/ui/orders/{filled['bounced']}", 404)
        assert (await admin.post(f"/ui/orders/{filled['planned']}/cancel"))[0] == 404
        assert await admin.search(str(filled["bounced"])) == ""
        assert await admin.search("FVK-2026-11-4471") == f"/ui/orders/{own}"
        page = await admin.get(await admin.search(INGRID))
        assert set(re.findall(r"/ui/orders/([0-9a-f-]{36})", page)) == {str(own)}
        (row,) = await w.road.rows(filled["bounced"])
        assert (await admin.post("/ui/recipients/of", n=str(row.id)))[0] == 404


async def test_no_page_shows_what_is_hidden(w: World, filled: dict[str, OrderId], marit: Visitor) -> None:
    pages = [await marit.get(f"/ui/orders/{order}") for order in filled.values()]
    pages += [await marit.get("/ui/orders"), await marit.get("/ui/orders.csv")]
    for text in (INGRID, RESERVED, BAKERY, "ingrid@example.com"):
        pages += [await marit.get(await marit.search(text))]
    pages += [(await marit.post("/ui/lookup", q=text))[1] for text in (INGRID, RESERVED)]
    for page in pages:
        told = re.sub(r'(content|value|href|action)="[^"]*"', "", page)
        assert not [secret for secret in SECRETS if secret in told]


# One order


ANSWERS = {
    "delivered": "Yes. The notification arrived by SMS at",
    "bounced": "No. The mail server said that the mailbox does not exist.",
    "reserved": "Not sent. The recipient has opted out of digital mail.",
    "missing": "Not sent. The registries hold no email address for the recipient.",
    "late": "Yes. The notification arrived by SMS at",
    "many": "No. The notification did not reach 3 of 64 recipients.",
    "handed": "Handed over. The provider took",
    "planned": "Not yet. The order is stored and waits for",
}


async def test_an_order_opens_with_the_answer(w: World, filled: dict[str, OrderId], marit: Visitor) -> None:
    for name, said in ANSWERS.items():
        assert first_sentence(await marit.get(f"/ui/orders/{filled[name]}")).startswith(said), name


async def test_the_story_is_that_of_explain(w: World, filled: dict[str, OrderId], marit: Visitor) -> None:
    for name, order in filled.items():
        if name == "many":
            continue
        async with w.road.db.reading() as conn:
            head = await order_store.find_head(conn, order, None)
            assert head
            facts = await find_facts(conn, head.creator, order)
        assert facts
        story = tell(facts)
        events = sorted(f"{e.kind}{f': {e.code}' if e.code else ''}" for e in (*story.past, *story.ahead))
        told = re.findall(r"<code>((?:[a-z]+\.[a-z]+)(?:: [\w ]+)?)</code>", await marit.get(f"/ui/orders/{order}"))
        assert sorted(told) == events, name


async def test_who_got_an_sms_after_an_email_reads_of_both(w: World, marit: Visitor) -> None:
    order = await w.letter(fallback_until=w.road.clock.now() + timedelta(hours=6))
    await w.run()
    await w.report(order, Channel.EMAIL, Verdict.FAILED)
    await w.run(after=timedelta(minutes=2))
    await w.report(order, Channel.SMS, Verdict.DELIVERED)
    await w.run(after=timedelta(minutes=1))
    history = await marit.get(await marit.search(INGRID))
    assert "Email: bounced." in history
    (path,) = set(re.findall(rf"/ui/orders/{order}\?n=[0-9a-f-]+", history))
    page = await marit.get(path)
    assert first_sentence(page).startswith("Yes. The notification arrived by SMS at")
    told = [page.index(text) for text in ("Email: bounced", "We went over to SMS", "The SMS arrived")]
    assert told == sorted(told)
    turns = await marit.get(f"{path}&story=turns")
    assert "We went over to SMS" in turns
    assert "The SMS was made" not in turns


async def test_of_many_recipients_each_is_found_by_fate_and_has_a_story(
    w: World, filled: dict[str, OrderId], marit: Visitor
) -> None:
    path = f"/ui/orders/{filled['many']}"
    page = await marit.get(path)
    assert page.count('class="go"') == 50
    following = re.search(r'href="([^"]*after=[^"]*)"', page)
    assert following
    assert (await marit.get(following[1].replace("&amp;", "&"))).count('class="go"') == 14
    page = await marit.get(f"{path}?fate=failed")
    assert page.count('class="go"') == 3
    assert "Email: bounced" not in page  # the story is that of the order alone
    one = re.search(r"n=([0-9a-f-]{36})", page)
    assert one
    page = await marit.get(f"{path}?n={one[1]}")
    assert "You see the story of" in page
    assert "Email: bounced" in page


async def test_an_order_that_waits_can_be_cancelled_once_somebody_has_confirmed(
    w: World, filled: dict[str, OrderId], marit: Visitor
) -> None:
    path = f"/ui/orders/{filled['planned']}"
    page = await marit.get(path)
    assert "<dialog" in page
    assert re.search(r'class="mask">148385<', page)  # whom it is for
    assert (await marit.post(f"{path}/cancel"))[0] == 303
    page = await marit.get(path)
    assert first_sentence(page) == "Not sent. The sender cancelled before sending."
    assert "<dialog" not in page
    async with w.road.db.reading() as conn:
        who = await fetch_value(conn, "SELECT actor || ' ' || order_id FROM audit WHERE action = 'cancel'", {})
    assert who == f"Marit Haugen {filled['planned']}"
    status, page, _ = await marit.post(f"/ui/orders/{filled['delivered']}/cancel")
    assert (status, "It is too late to cancel" in page) == (409, True)


@pytest.mark.parametrize("path", ["/ui/orders/none", f"/ui/orders/{UUID(int=1)}", "/ui/recipients/guessed"])
async def test_what_is_not_there_is_a_page_that_says_so(marit: Visitor, path: str) -> None:
    assert "There is no such page" in await marit.get(path, 404)


# The list


FILTERS: list[tuple[str, set[str] | None]] = [
    ("state=Registered", {"planned"}),
    ("creator=Nordlys+helse", {"reserved"}),
    ("channel=EmailAndSms", {"handed"}),
    ("ref=MAT-7", {"bakery"}),
    ("ref=MAT-7&creator=Nordlys+helse", set()),
    ("creator=Nobody", set()),
    ("to=2020-01-01", set()),
    ("from=2999-01-01", set()),
    ("state=nonsense&from=nonsense&n=nonsense&before=nonsense&channel=nonsense", None),
]


async def test_orders_are_narrowed_down(w: World, filled: dict[str, OrderId], marit: Visitor) -> None:
    for query, found in FILTERS:
        page = await marit.get(f"/ui/orders?{query}")
        shown = set(re.findall(r"/ui/orders/([0-9a-f-]{36})", page))
        assert shown == {str(filled[name]) for name in (filled if found is None else found)}, query
        assert shown or "No orders match" in page
        rows = list(csv.DictReader(io.StringIO((await marit.get(f"/ui/orders.csv?{query}")).lstrip("\ufeff"))))
        assert {row["id"] for row in rows} == shown, query


async def test_a_long_list_goes_on(w: World, marit: Visitor) -> None:
    for _ in range(51):
        await w.letter()
    page = await marit.get("/ui/orders")
    assert page.count('class="go"') == 50
    assert (await marit.get("/ui/orders?n=100")).count('class="go"') == 51
    last = re.findall(r"/ui/orders/([0-9a-f-]{36})", page)[-1]
    assert (await marit.get(f"/ui/orders?before={last}")).count('class="go"') == 1


async def test_a_file_is_written_down_and_no_cell_is_a_formula(w: World) -> None:
    await w.letter(senders_reference='=HYPERLINK("https://evil.example")')
    async with visitor(w, Role.VIEWER, language="nb") as viewer, viewer.http.get("/ui/orders.csv") as answer:
        assert re.search(r'filename="varsel-all-\d{8}T\d{4}\.csv"', answer.headers["Content-Disposition"])
        text = (await answer.read()).decode()
    assert text.startswith("\ufeffid;sender;")
    (row,) = csv.DictReader(io.StringIO(text.lstrip("\ufeff")), delimiter=";")
    assert row["reference"].startswith("'=")
    assert (await audited(w))[-1][0] == "export"


# One recipient


async def test_the_recipients_page_opens_with_whether_it_arrived(
    w: World, filled: dict[str, OrderId], marit: Visitor
) -> None:
    page = await marit.get(await marit.search(INGRID))
    assert first_sentence(page).startswith("Handed over. The provider took the last notification at")
    sent = set(re.findall(r"/ui/orders/([0-9a-f-]{36})", page))
    assert sent == {str(filled[name]) for name in ("delivered", "bounced", "late", "handed")}
    path = await marit.search(INGRID)
    assert set(re.findall(r"/ui/orders/([0-9a-f-]{36})\?n", await marit.get(f"{path}?fate=failed"))) == {
        str(filled[name]) for name in ("handed", "bounced")
    }  # the first is the newest, of which the page opens
    page = await marit.get(await marit.search(NOBODY))
    assert "The registries do not know the recipient." in page
    page = await marit.get(await marit.search("nobody@example.org"))
    assert "We have sent nothing straight to this address." in first_sentence(page)
    page = await marit.get(await marit.search("far0@strand.example"))
    assert first_sentence(page).startswith("No.")
    (row, *_) = await w.road.rows(filled["bakery"])
    _, _, location = await marit.post("/ui/recipients/of", n=str(row.id))
    assert "Solbakken Bakeri AS" in await marit.get(location)


async def test_while_a_register_is_down_the_history_is_told_all_the_same(
    w: World, filled: dict[str, OrderId], marit: Visitor
) -> None:
    w.road.directory.down = True
    page = await marit.get(await marit.search(INGRID))
    assert "The registry does not answer now." in page
    assert str(filled["late"]) in page
    assert (await marit.post("/ui/lookup", q=INGRID))[0] == 503


async def test_nothing_is_revealed_without_a_case_and_each_time_is_written_down(
    w: World, filled: dict[str, OrderId], marit: Visitor
) -> None:
    path = await marit.search(INGRID)
    for form in ({"part": "mobile"}, {"part": "mobile", "case": "  "}):
        _, page, _ = await marit.post(f"{path}/reveal", **form)
        assert "400 00 417" not in page
        assert "Why do you want to see the mobile number?" in page
    assert "reveal" not in str(await audited(w))
    _, page, _ = await marit.post(f"{path}/reveal", part="mobile", case="26/1183")
    assert "+47 400 00 417" in page
    assert '<meta http-equiv="refresh" content="30;' in page
    assert "ingrid@" not in page
    _, page, _ = await marit.post(f"{path}/reveal", part="number")  # the case is that of the session
    assert "148385 10036" in page
    assert (await marit.post(f"{path}/reveal", part="everything"))[0] == 404
    page = await marit.get(path)
    assert "148385 10036" not in page
    assert "showed the mobile number" in page
    async with w.road.db.reading() as conn:
        sql = "SELECT action, case_no, about_key FROM audit WHERE action LIKE 'reveal%%' ORDER BY id"
        revealed = await fetch(conn, sql, {}, lambda *row: row)
    assert revealed == [("reveal mobile", "26/1183", INGRID), ("reveal number", "26/1183", INGRID)]


async def test_the_sandbox_hides_nothing(database: Database) -> None:
    async with world(database, sandbox=True) as w, visitor(w) as anybody:
        await w.letter()
        await w.run()
        page = await anybody.get(await anybody.search(INGRID))
        assert "+47 400 00 417" in page
        assert "/reveal" not in page


# Lookup


async def test_the_lookup_tells_how_somebody_would_be_reached_and_stores_nothing(w: World, marit: Visitor) -> None:
    _, page, _ = await marit.post("/ui/lookup", q=INGRID)
    assert first_sentence(page) == "Yes. The recipient can be reached."
    assert "Contact register" in page
    _, page, _ = await marit.post("/ui/lookup", q=RESERVED)
    assert first_sentence(page) == "No. The recipient cannot be reached."
    assert "The person has opted out of digital mail." in page
    _, page, _ = await marit.post("/ui/lookup", q=BAKERY)
    assert "Solbakken Bakeri AS" in page
    status, page, _ = await marit.post("/ui/lookup", q="12345")
    assert (status, "We did not recognise the recipient" in page) == (422, True)
    assert await w.road.rows() == []
    assert [who for action, who in await audited(w) if action == "lookup"] == [INGRID, RESERVED, BAKERY]
    status, page, _ = await marit.post("/ui/lookup", handle=(await marit.search(INGRID)).rpartition("/")[2])
    assert "Yes." in first_sentence(page)


# SQL


async def test_the_database_and_the_rule_agree_on_every_fate(w: World, database: Database) -> None:
    order = await w.letter()
    await w.run()
    (row,) = await w.road.rows(order)
    sql = """UPDATE notification SET state = %(state)s, reason = %(reason)s, settled = %(settled)s,
                    accepted_at = CASE WHEN %(taken)s THEN state_at END WHERE id = %(id)s"""
    for state in State:
        if state is State.SENDING:  # never stored
            continue
        for reason in Reason if state is State.FAILED else (None,):
            for settled, taken in ((False, False), (False, True), (True, True)):
                async with database.autocommit() as conn:
                    values = {"state": state, "reason": reason, "settled": settled, "taken": taken, "id": row.id}
                    await execute(conn, sql, values)
                async with database.reading() as conn:
                    (message,) = await order_store.find_messages(conn, order, limit=2)
                    tally = await order_store.find_tally(conn, order)
                    assert dict(tally.groups) == {message.fate: 1}
                    others = [fate for fate in Fate if fate is not message.fate]
                    assert not any([await order_store.find_messages(conn, order, limit=1, fate=f) for f in others])


@pytest.mark.parametrize(
    ("sql", "condition"),
    [
        (recipient_store.TO_SUBJECT, "subject_key ="),
        (recipient_store.TO_ADDRESS, "lower(address) ="),
        (orders_store.REFERENCED, "creator_id ="),
        (order_store.MESSAGES, "order_id ="),
        (search_store.FIND, "id ="),
    ],
)
async def test_what_is_looked_up_has_an_index(database: Database, sql: str, condition: str) -> None:
    """Of a table of any size: sequential scans are forbidden, and an index without a condition would not do."""
    id_ = uuid7()
    params = dict.fromkeys(("creator", "state", "channel", "since", "until", "low", "high", "before", "after"))
    params |= dict.fromkeys(("fate", "only"))
    values = {**params, "key": INGRID, "kind": "person", "reference": "r", "order": id_, "id": id_}
    values |= {"limit": 50, "counted": 100}
    async with database.transaction() as conn:
        await conn.execute("SET LOCAL enable_seqscan = off")
        plan = "\n".join(await fetch(conn, f"EXPLAIN {sql}", values, str))
    lookups = [line for line in plan.splitlines() if "Index Cond" in line]
    assert any(condition in line for line in lookups), plan
    assert "Seq Scan on notification" not in plan


async def test_a_list_reads_only_as_far_as_it_shows(database: Database) -> None:
    async with database.reading() as conn:
        assert await orders_store.find(conn, Filter(creator="nobody"), limit=50) == []
        since = await fetch_value(conn, "SELECT statement_timestamp()", {}) - timedelta(days=3)
        assert await orders_store.find(conn, Filter(since=since, until=since), limit=50) == []
