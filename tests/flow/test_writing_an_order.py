"""Writing an order: who will get this, on what, how will it look; and sending it, once."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from axe import faults, violations
from browser import Page, browser_page
from orders_world import BAKERY, INGRID, NOBODY, RESERVED, Visitor, World, visitor, world
from serving import serving
from site_parts import ui_parts
from varsel.db import Database, fetch, fetch_value
from varsel.domain.content import Content
from varsel.domain.errors import OverLimit, RegistryUnavailable, Unavailable
from varsel.domain.order import Chain, Order, OrderChannel
from varsel.domain.schedule import OSLO, SendWindow
from varsel.domain.schemes import NORWEGIAN
from varsel.domain.sms_text import clean, link_parts
from varsel.orders.register import ChainOutcome, Register
from varsel.preview.preview import Previewer
from varsel.preview.prices import Prices
from varsel.resolution.plan import Rules
from varsel.settings import ContentSettings, CreatorContentSettings, SandboxSettings, Settings
from varsel.ui.access import Role
from varsel.ui.draft import addressed, blank, chain_of, due, order_of, read_draft, wrong_with
from varsel.ui.look import meter_of
from varsel.ui.send import PATH
from varsel.ui.site import site_routes
from varsel.wakeup import Waker

WATER: Final = "Vannet blir stengt i Strandveien 4-28 onsdag kl. 09-14. Mer på fjordvik.example/vann"
WRITTEN: Final = {
    "creator": "Fjordvik kommune",
    "to": f"{INGRID}\n{BAKERY}",
    "channel": "EmailPreferred",
    "subject": "Vannet stenges onsdag",
    "body": f"Hei\n\n{WATER}",
    "sms": f"Fjordvik kommune: {WATER}",
    "later": "no",
    "falls_back": "yes",
}
FORM: Final = "6f5b0c9e-0d65-4b0a-9b7f-1e7d5a9f0a11"
SENDS: Final = {**WRITTEN, "form": FORM, "do": "send"}
NOW: Final = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)

RegisterChain = Callable[[Chain, Sequence[Order]], Awaitable[ChainOutcome]]


@asynccontextmanager
async def site(
    database: Database,
    *,
    sandbox: bool = False,
    content: ContentSettings | None = None,
    takes: Callable[[RegisterChain], RegisterChain] = lambda register: register,
) -> AsyncIterator[World]:
    """The pages over the people of the orders' world, with prices. `takes`: what stands before the intake."""
    async with world(database, sandbox=sandbox) as w:
        settings = Settings(sandbox=SandboxSettings(enabled=sandbox), content=content or ContentSettings())
        waker = Waker(database)
        register = Register(database, w.road.directory, w.road.clock, waker)
        rules = Rules(SendWindow(always_open=True), timedelta(hours=48), timedelta(seconds=60))
        prices = Prices("NOK", Decimal("0.02"), {"+47": Decimal("0.31")})
        parts = replace(
            ui_parts(database, w.road.clock, settings),
            directory=w.road.directory,
            previewer=Previewer(w.road.directory, w.road.clock, rules, prices),
            register_chain=takes(register.register_chain),
        )
        async with serving(Starlette(routes=site_routes(parts))) as port:
            yield World(f"http://127.0.0.1:{port}", w.road)
        await register.close()
        await waker.close()


@pytest.fixture
async def w(database: Database) -> AsyncIterator[World]:
    async with site(database) as made:
        yield made


@pytest.fixture
async def marit(w: World) -> AsyncIterator[Visitor]:
    async with visitor(w) as somebody:
        yield somebody


def said(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


async def written(by: Visitor, status: int = 200, **fields: str) -> str:
    """What the page says when the form is posted."""
    got, page, _ = await by.post(PATH, **{**WRITTEN, **fields})
    assert got == status, said(page)
    return said(page)


async def orders(w: World) -> list[tuple[str, str, str, int]]:
    async with w.road.db.reading() as conn:
        sql = """SELECT c.name, o.kind::text, o.channel::text, o.recipients
                   FROM orders o JOIN creator c ON c.id = o.creator_id ORDER BY o.id"""
        return await fetch(conn, sql, {}, lambda *row: row)


async def looked_up(w: World) -> int:
    async with w.road.db.reading() as conn:
        return int(await fetch_value(conn, "SELECT count(*) FROM audit WHERE action = 'lookup'", {}) or 0)


# What is seen while writing


async def test_it_says_who_gets_it_on_what_and_at_what_cost(marit: Visitor) -> None:
    page = await written(marit, to=f"{INGRID}\n{BAKERY}\n{RESERVED}\n+4740000417")
    assert "3 of 4 recipients can be reached" in page
    assert "2 get email." in page
    assert "1 gets SMS." in page
    assert "1 gets nothing. The person has opted out of digital mail." in page
    assert "About 0.35 NOK : 2 emails and 1 SMS part." in page
    assert "Solbakken Bakeri AS" in page
    assert "Send to 3 recipients" in page
    assert "Opted out" in page


async def test_numbers_and_addresses_stay_covered_and_each_look_is_written_down_once(w: World, marit: Visitor) -> None:
    page = await written(marit)
    assert "ingrid@example.com" not in page
    assert INGRID not in page
    assert "148385 •••••" in page
    await written(marit, subject="Another subject")
    assert await looked_up(w) == 2
    await written(marit, add=f"{RESERVED}, nils@example.com")
    assert await looked_up(w) == 4


async def test_recipients_are_added_in_any_form_and_removed_again(marit: Visitor) -> None:
    _, page, _ = await marit.post(PATH, **{**WRITTEN, "to": "", "add": "148385 10036\r\n310 001 007; post@x.example"})
    assert 'name="to" value="148385 10036\n310 001 007\npost@x.example"' in page
    _, page, _ = await marit.post(PATH, **{**WRITTEN, "to": f"{INGRID}\n{BAKERY}", "remove": "0"})
    assert f'name="to" value="{BAKERY}"' in page
    page = await written(marit, to=f"{INGRID}\n148385 10036")
    assert "1 of 1 recipient can be reached" in page


async def test_who_cannot_be_reached_is_left_out_and_named_by_why(w: World, marit: Visitor) -> None:
    page = await written(marit, to=f"{INGRID}\n{NOBODY}", do="review")
    assert "Send to 1 recipient?" in page
    assert "1 is left out: we know no address." in page
    page = await written(marit, 422, to=NOBODY, do="review")
    assert "None of them can be reached" in page
    assert "Not known" in page
    status, _, location = await marit.post(PATH, **{**SENDS, "to": f"{INGRID}\n{NOBODY}"})
    assert (status, location) == (200, "")  # the register answers otherwise than it did: it is asked again
    assert await orders(w) == []


async def test_the_pictures_show_the_texts_as_they_leave(marit: Visitor) -> None:
    text = "Hei $recipientName$ – se “mer” på www.fjordvik.example"
    _, page, _ = await marit.post(PATH, **{**WRITTEN, "to": BAKERY, "body": "Til $recipientName$ ($recipientNumber$)"})
    assert "Til Solbakken Bakeri AS (310001007)" in page
    _, page, _ = await marit.post(PATH, **{**WRITTEN, "to": INGRID, "channel": "Sms", "sms": text})
    assert "Hei Ingrid Berg - se &#34;mer&#34; på <u>www.fjordvik.example</u>" in page
    assert "– as -" in said(page)
    assert "Keywords make it shorter or longer" in said(page)
    assert "keeps a keyword" not in said(page)
    page = await written(marit, to="+4740000417", channel="Sms", sms=text)
    assert "1 message keeps a keyword as it is: an address has no name." in page
    _, page, _ = await marit.post(PATH, **{**WRITTEN, "to": INGRID, "channel": "Sms", "sms": text})
    _, page, _ = await marit.post(PATH, **{**WRITTEN, "to": INGRID, "channel": "Sms", "sms": "Ω ☃ " * 20})
    assert "☃ is not in GSM‑7" in said(page)
    assert "UCS‑2" in said(page)


async def test_a_half_written_order_already_says_who_gets_it(marit: Visitor) -> None:
    page = await written(marit, subject="", body="", sms="")
    assert "2 of 2 recipients can be reached" in page
    assert "must be mended" not in page
    page = await written(marit, to="")
    assert "Nobody yet" in page


async def test_a_register_that_is_down_loses_nothing_that_was_written(w: World, marit: Visitor) -> None:
    w.road.directory.down = True
    page = await written(marit, do="preview")
    assert "The registry does not answer" in page
    assert WATER in page
    assert "The registry does not answer" in await written(marit, 503, do="review")


async def test_html_is_shown_in_a_frame_where_it_can_do_nothing(marit: Visitor) -> None:
    attack = '"><script>alert(1)</script><p style="color:red">Hei</p>'
    _, page, _ = await marit.post(PATH, **{**WRITTEN, "html": "yes", "body": attack})
    assert "<script>alert" not in page
    frame = re.search(r'<iframe class="letterframe" sandbox srcdoc="([^"]*)"', page)
    assert frame
    assert html.unescape(frame[1]).endswith(attack)
    assert "default-src 'none'" in html.unescape(frame[1])


# What is wrong


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"creator": ""}, "Choose who it is from"),
        ({"to": ""}, "Add at least one recipient"),
        ({"to": "nobody at all"}, "A line names nobody"),
        ({"to": "\n".join(f"a{n}@x.example" for n in range(501))}, "There are more than 500 recipients"),
        ({"subject": " "}, "Write a subject"),
        ({"body": "\n"}, "Write the email"),
        ({"sms": ""}, "Write the SMS"),
        ({"sms": "å" * 2145}, "longer than the mobile networks carry"),
        ({"later": "yes"}, "Choose a date and a time"),
        ({"later": "yes", "day": "2020-01-01", "clock": "10:00"}, "The time lies in the past"),
        ({"later": "yes", "day": "9999-12-31", "clock": "23:59"}, "The time lies too far ahead"),
        ({"reminder_days": "0"}, "after how many days"),
        ({"reminder_sms": "Husk"}, "after how many days"),
        ({"resource": "urn:altinn:resource:"}, "A resource begins with"),
    ],
)
async def test_what_is_wrong_is_told_beside_its_field_and_nothing_is_sent(
    w: World, marit: Visitor, fields: dict[str, str], told: str
) -> None:
    for do in ("preview", "review", "send"):
        page = await written(marit, 200 if do == "preview" else 422, do=do, **fields)
        assert "1 thing must be mended" in page
        assert page.count(told) >= 2
    assert await orders(w) == []


async def test_the_rules_for_a_senders_texts_hold_here_too(database: Database) -> None:
    strict = CreatorContentSettings(
        links="enforce", link_domains=("fjordvik.example",), sender_domains=("fjordvik.example",)
    )
    content = ContentSettings(protected_sms_senders=("Politiet",), creators={"Fjordvik kommune": strict})
    async with site(database, content=content) as w, visitor(w) as marit:
        page = await written(
            marit,
            422,
            do="review",
            body="Se https://svindel.example",
            email_sender="post@andre.example",
            sms_sender="Politiet",
            html="yes",
        )
        for told in ("a link that the sender may not use", "may not send from this address", "may not use this name"):
            assert told in page
        assert "Send to 2 recipients?" in await written(marit, do="review")


# Sending


async def test_an_order_is_asked_about_sent_and_leads_to_its_story(w: World, marit: Visitor) -> None:
    page = await written(marit, do="review", form=FORM)
    assert "Send to 2 recipients?" in page
    assert await orders(w) == []
    status, _, location = await marit.post(PATH, **SENDS)
    assert status == 303
    assert "Vannet stenges onsdag" in said(await marit.get(location))
    assert await orders(w) == [("Fjordvik kommune", "Notification", "EmailPreferred", 2)]
    await w.run()
    async with w.road.db.reading() as conn:
        assert (
            await fetch_value(conn, "SELECT count(*) FROM audit WHERE action = 'send' AND actor = 'Marit Haugen'", {})
            == 1
        )
        assert await fetch_value(conn, "SELECT fallback_until IS NOT NULL FROM orders", {}) is True
    assert {m.to for m in w.road.mail.sent} == {"ingrid@example.com", "post@bakeri.example"}


async def test_pressing_twice_or_loading_again_sends_once(w: World, marit: Visitor) -> None:
    answers = await asyncio.gather(*(marit.post(PATH, **SENDS) for _ in range(4)))
    assert {status for status, _, _ in answers} == {303}
    assert len({location for _, _, location in answers}) == 1
    assert len(await orders(w)) == 1


async def test_a_form_that_was_sent_with_another_content_sends_nothing_more(w: World, marit: Visitor) -> None:
    _, _, first = await marit.post(PATH, **SENDS)
    status, page, _ = await marit.post(PATH, **{**SENDS, "subject": "Noe annet"})
    assert status == 409
    assert "This form was sent before, with another content" in said(page)
    assert f'href="{first}"' in page
    assert FORM not in page  # it has a new id now
    assert len(await orders(w)) == 1


async def test_a_reminder_goes_to_the_same_with_its_own_text(w: World, marit: Visitor) -> None:
    await marit.post(PATH, **{**SENDS, "reminder_days": "3", "reminder_sms": "Husk vannet"})
    assert [kind for _, kind, _, _ in await orders(w)] == ["Notification", "Reminder"]
    async with w.road.db.reading() as conn:
        sql = "SELECT email_subject, sms_body FROM order_content ORDER BY order_id DESC LIMIT 1"
        assert await fetch(conn, sql, {}, lambda *row: row) == [("Vannet stenges onsdag", "Husk vannet")]
        sql = "SELECT max(requested_send_time) - min(requested_send_time) FROM orders"
        assert await fetch_value(conn, sql, {}) == timedelta(days=3)


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (OverLimit("x", 10, wanted=2, left=0, until=NOW, wait=timedelta(1)), 429, "The quota is used up"),
        (RegistryUnavailable("x"), 503, "The registry does not answer"),
        (Unavailable("the database"), 503, "We do not know whether it was stored"),
    ],
)
async def test_what_stands_in_the_way_is_told_and_the_same_press_can_be_tried_again(
    database: Database, error: Exception, status: int, told: str
) -> None:
    failures = [error]

    def takes(register: RegisterChain) -> RegisterChain:
        async def failing(chain: Chain, orders: Sequence[Order]) -> ChainOutcome:
            if failures:
                raise failures.pop()
            return await register(chain, orders)

        return failing

    async with site(database, takes=takes) as w, visitor(w) as marit:
        got, page, _ = await marit.post(PATH, **SENDS)
        assert got == status
        assert told in said(page)
        assert f'name="form" value="{FORM}"' in page
        assert (await marit.post(PATH, **SENDS))[0] == 303
        assert len(await orders(w)) == 1


async def test_only_whoever_may_send_sees_the_page_and_an_admin_sends_as_their_creator_alone(w: World) -> None:
    for role in (Role.VIEWER, Role.OPERATOR):
        async with visitor(w, role) as other:
            await other.get(PATH, 403)
            assert (await other.post(PATH, **SENDS))[0] == 403
    async with visitor(w, Role.CREATOR_ADMIN, creator="Havneetaten") as kari:
        assert "You send as Havneetaten." in said(await kari.get(PATH))
        assert (await kari.post(PATH, **SENDS))[0] == 303
    assert [creator for creator, _, _, _ in await orders(w)] == ["Havneetaten"]


# Pure


@given(
    st.dictionaries(st.sampled_from([*WRITTEN, "add", "remove", "day", "clock", "reminder_days", "html"]), st.text())
)
def test_any_form_can_be_read_and_says_the_same_when_it_is_posted_again(fields: dict[str, str]) -> None:
    draft = read_draft({**fields, "form": FORM}, None)
    assert read_draft(dict(draft.fields()), None) == draft
    wrong_with(draft, NORWEGIAN, Content(), NOW)


@given(st.datetimes(), st.booleans())
def test_a_time_is_read_on_norwegian_clocks(local: datetime, later: bool) -> None:
    draft = replace(blank("a"), later=later, day=local.date().isoformat(), clock=f"{local:%H:%M}")
    wanted = local.replace(second=0, microsecond=0, tzinfo=OSLO)
    at = due(draft, NOW)
    assert at == NOW if not later else at is None or at == wanted.astimezone(UTC)
    assert at is not None or local.year in {1, 9999}


@given(st.sampled_from(OrderChannel), st.booleans(), st.sampled_from(["", "2"]))
def test_an_order_has_the_texts_of_its_channel_and_falls_back_only_where_there_is_another(
    channel: OrderChannel, falls_back: bool, days: str
) -> None:
    draft = read_draft(
        {**WRITTEN, "channel": channel, "reminder_days": days, "falls_back": "yes" if falls_back else ""}, None
    )
    recipients = [each for each in addressed(draft, NORWEGIAN) if each]
    chain, made = chain_of(draft, order_of(draft, recipients, Settings(), NOW, NOW))
    assert len(made) == (2 if days else 1)
    for order in made:
        assert order.chain == chain.id
        assert (order.email is not None) == (channel is not OrderChannel.SMS)
        assert (order.sms is not None) == (channel is not OrderChannel.EMAIL)
        preferred = channel in {OrderChannel.EMAIL_PREFERRED, OrderChannel.SMS_PREFERRED}
        assert (order.fallback_until is not None) == (preferred and falls_back)


@given(st.text(max_size=400))
def test_the_meter_shows_what_the_gateway_bills(text: str) -> None:
    meter = meter_of(text)
    if meter is None:
        assert not text.strip()
        return
    assert meter.receipt.parts == link_parts(clean(text))
    assert 0 <= meter.fill <= 100
    assert meter.used <= meter.room


# In a browser


async def enter(w: World, page: Page) -> None:
    await page.goto(await w.link())
    await page.click_through("main form button")
    await page.goto(w.url + PATH)
    page.errors.clear()


async def fill(page: Page) -> None:
    for name in ("creator", "subject", "body", "sms"):
        await page.evaluate(f"document.querySelector('[name={name}]').focus()")
        await page.send("Input.insertText", text=WRITTEN[name])


async def test_somebody_writes_sees_who_gets_it_while_writing_and_sends_by_keyboard(w: World) -> None:
    async with browser_page() as page:
        await page.look(language="en")
        await enter(w, page)
        await fill(page)
        await page.evaluate("document.querySelector('#add').focus()")
        await page.send("Input.insertText", text=f"{INGRID}\n{BAKERY}\n{RESERVED}")
        await page.press("Enter")
        await page.until("document.querySelector('#reach').innerText === '2 of 3 recipients can be reached'")
        assert await page.evaluate("document.activeElement.id") == "add"
        assert await page.evaluate("document.querySelector('#add').value") == ""
        await page.evaluate("document.querySelector('[name=remove][value=\"2\"]').focus()")
        await page.press("Enter")
        await page.until("document.querySelector('#reach').innerText === '2 of 2 recipients can be reached'")
        assert await page.evaluate("document.querySelector('.bubble').innerText") == WRITTEN["sms"]
        await page.evaluate("document.querySelector('[name=do][value=review]').focus()")
        page._loaded.clear()
        await page.press("Enter")
        await page.loaded()
        assert await page.evaluate("document.querySelector('h1').innerText") == "Send to 2 recipients?"
        assert await violations(page) == []
        await page.click_through("[name=do][value=send]")
        assert "/ui/orders/" in await page.evaluate("location.pathname")
        assert len(await orders(w)) == 1
        assert page.errors == []


async def test_it_is_written_and_sent_without_a_script(w: World) -> None:
    async with browser_page() as page:
        await page.look(script=False)
        await enter(w, page)
        await fill(page)
        await page.evaluate("document.querySelector('#add').focus()")
        await page.send("Input.insertText", text=f"{INGRID}\n{BAKERY}")
        await page.click_through("[name=do][value=preview]:not(.sr)")
        assert await page.evaluate("document.querySelector('#reach').innerText") == "2 av 2 mottakere kan nås"
        await page.click_through("[name=do][value=review]")
        await page.click_through("[name=do][value=edit]")
        await page.click_through("[name=do][value=review]")
        await page.click_through("[name=do][value=send]")
        assert len(await orders(w)) == 1


async def test_what_is_wrong_is_where_the_focus_is(w: World) -> None:
    async with browser_page() as page:
        await page.look(language="en")
        await enter(w, page)
        await page.click_through("[name=do][value=review]")
        assert await page.evaluate("document.activeElement.id") == "summary"
        await page.evaluate("document.querySelector('#summary a[href=\"#subject\"]').click()")
        assert await page.evaluate("document.activeElement.id") == "subject"
        assert await violations(page) == []
        assert not [error for error in page.errors if "422" not in error]


async def test_html_in_the_frame_does_nothing_and_fetches_nothing(w: World) -> None:
    fetched: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fetched.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    attack = (
        f"<h1>Hei</h1><script>top.document.title = 'taken'</script><img src='http://127.0.0.1:{port}/pixel'>"
        "<img src='x:' onerror=\"parent.document.title = 'taken'\">"
    )
    async with server, browser_page() as page:
        await page.look(language="en")
        await enter(w, page)
        await fill(page)
        await page.evaluate(f"document.querySelector('#body').value = {json.dumps(attack)}")
        await page.evaluate("document.querySelector('[name=html]').checked = true")
        await page.evaluate(f"document.querySelector('#add').value = '{INGRID}'")
        await page.click_through("[name=do][value=preview]:not(.sr)")  # and until the frame has loaded
        assert attack in await page.evaluate("document.querySelector('.letterframe').srcdoc")
        assert await page.evaluate("document.title") == "Write a notification – Varsel"
        assert await page.evaluate("document.querySelector('.letterframe').contentDocument") is None
        assert fetched == []


async def test_a_written_order_breaks_in_no_width_theme_or_language(w: World) -> None:
    async with browser_page() as page:
        await enter(w, page)
        for language in ("nb", "en"):
            await page.look(language=language)
            await page.goto(w.url + PATH)  # empty, the walk has seen it
            await fill(page)
            await page.evaluate("document.querySelector('#add').value = " + repr(f"{INGRID}\n{RESERVED}\nxx\n{BAKERY}"))
            await page.evaluate("document.querySelector('[name=html]').checked = true")
            await page.evaluate("document.querySelector('details.more').open = true")
            await page.click_through("[name=do][value=preview]:not(.sr)")
            assert await faults(page, language) == []
        assert page.errors == []
