"""The sandbox's magic: each address, number and person on the page does what the page says, for it is a script's."""

import re

from browser import browser_page
from sandbox_site import sandbox_site
from varsel.db import Database
from varsel.domain.address import valid_email, valid_mobile
from varsel.domain.schemes import NORWEGIAN
from varsel.simulators.link_script import ORDINARY, SCRIPTS
from varsel.simulators.smtp_script import ORDINARY as PLAIN_MAIL
from varsel.simulators.smtp_script import script_for
from varsel.ui.magic import MAIL, PATH, PEOPLE, SMS


def test_every_trick_is_a_script_of_a_simulator_or_a_persona() -> None:
    for trick in MAIL:
        assert valid_email(trick.to)
        assert trick.to.partition("@")[0] == trick.key
        assert script_for(trick.to) is not PLAIN_MAIL or trick.key == "ok"
    for trick in SMS:
        assert valid_mobile(trick.to)
        assert trick.to.endswith(trick.key)
        assert (SCRIPTS.get(trick.key, ORDINARY) is ORDINARY) == (trick.key == "417")
    for trick in PEOPLE:
        assert NORWEGIAN.is_person(trick.to) or NORWEGIAN.is_organisation(trick.to)


async def test_one_press_leads_to_an_order_to_be_written(database: Database) -> None:
    async with sandbox_site(database) as site, browser_page() as page:
        for script in (True, False):
            await page.look(language="en", script=script)
            await page.goto(site.url + PATH)
            await page.evaluate("document.querySelector('[value=\"bounce@post.example\"]').form.id = 'wanted'")
            await page.click_through("#wanted button")
            assert await page.evaluate("document.querySelector('h1').innerText") == "Write a notification"
            assert "bounce@post.example" in await page.evaluate("document.querySelector('.to').innerText")
            text = await page.evaluate("document.querySelector('[name=channel]:checked').value")
            assert re.fullmatch("Email", text)
        assert page.errors == []
