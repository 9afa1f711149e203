"""The sandbox's magic: addresses, numbers and people that decide what happens, each ready to be written to.

The simulators' scripts and the personas are the source (channels 8, registries B); a test holds them together.
"""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.recipients.personas import ORGANISATIONS, PERSONS
from varsel.ui.access import Role, Who
from varsel.ui.parts import UiParts

PATH: Final = "/sandbox/magic"

_NUMBER: Final = "+4740000"


@dataclass(frozen=True, slots=True)
class Trick:
    """`key`: of its sentence. `to`: what stands in an order. `outcome`: the key of its words; `family` of colours."""

    key: str
    to: str
    outcome: str
    family: str


MAIL: Final = (
    Trick("ok", "ok@post.example", "email_delivered", "delivered"),
    Trick("quiet", "quiet@post.example", "accepted", "handed"),
    Trick("bounce", "bounce@post.example", "bounced", "failed"),
    Trick("badaddr", "badaddr@post.example", "faulty_address", "failed"),
    Trick("spam", "spam@post.example", "spam", "failed"),
    Trick("toolarge", "toolarge@post.example", "attachments_large", "failed"),
    Trick("defer-2", "defer-2@post.example", "retry", "attention"),
    Trick("slow-5", "slow-5@post.example", "email_delivered", "delivered"),
    Trick("dsn-fail", "dsn-fail@post.example", "bounced", "failed"),
    Trick("dsn-late-20", "dsn-late-20@post.example", "bounced", "failed"),
)
SMS: Final = (
    Trick("417", f"{_NUMBER}417", "sms_delivered", "delivered"),
    Trick("403", f"{_NUMBER}403", "accepted", "handed"),
    Trick("101", f"{_NUMBER}101", "expired_there", "failed"),
    Trick("103", f"{_NUMBER}103", "undelivered", "failed"),
    Trick("104", f"{_NUMBER}104", "rejected", "failed"),
    Trick("108", f"{_NUMBER}108", "barred", "failed"),
    Trick("201", f"{_NUMBER}201", "wrong_number", "failed"),
    Trick("301", f"{_NUMBER}301", "retry", "attention"),
    Trick("402", f"{_NUMBER}402", "sms_delivered", "delivered"),
    Trick("406", f"{_NUMBER}406", "sms_delivered", "delivered"),
)
PEOPLE: Final = (
    Trick("p1", PERSONS["P1"], "email_delivered", "delivered"),
    Trick("p2", PERSONS["P2"], "reserved", "stopped"),
    Trick("p3", PERSONS["P3"], "email_delivered", "delivered"),
    Trick("p4", PERSONS["P4"], "sms_delivered", "delivered"),
    Trick("p5", PERSONS["P5"], "email_missing", "attention"),
    Trick("p7", PERSONS["P7"], "email_missing", "attention"),
    Trick("p10", PERSONS["P10"], "email_missing", "attention"),
    Trick("o1", ORGANISATIONS["O1"], "email_delivered", "delivered"),
    Trick("o2", ORGANISATIONS["O2"], "email_delivered", "delivered"),
    Trick("o8", ORGANISATIONS["O8"], "email_missing", "attention"),
)


class Magic:
    """The page."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts

    def routes(self) -> list[BaseRoute]:
        return [self._parts.access.page(PATH, self.show, Role.VIEWER)]

    async def show(self, request: Request, who: Who) -> Response:
        return self._parts.pages.render(
            request,
            "magic.html",
            now=self._parts.clock.now(),
            who=who,
            groups={"mail": MAIL, "sms": SMS, "people": PEOPLE},
        )
