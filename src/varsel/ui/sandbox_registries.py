"""The sandbox's registers: change who is in them, and see when the change has come to us (registries 8).

A change goes to the simulated register, and from there through its feed and the ordinary reading into our copy.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.db import ReadConn
from varsel.domain.address import normalise_mobile, valid_email
from varsel.domain.errors import Unavailable
from varsel.recipients.load.rows import Kind
from varsel.recipients.personas import ORGANISATIONS
from varsel.simulators.steering import Refused, put_rows
from varsel.ui import sandbox_registries_store as store
from varsel.ui.access import Role, Who
from varsel.ui.pages import back
from varsel.ui.parts import UiParts

PATH: Final = "/sandbox/registries"

_SHOWN: Final = 20
_KEPT: Final = 20
_LONGEST: Final = 300
_OLD: Final = timedelta(days=700)  # too old to be used


@dataclass(slots=True)
class PersonChange:
    """Somebody in KRR, as somebody wants them to be. `arrived`: when our copy became so."""

    key: str
    email: str
    mobile: str
    reserved: bool
    deleted: bool
    sent: datetime
    arrived: datetime | None = None
    kind: str = "person"

    async def look(self, conn: ReadConn) -> datetime | None:
        """When our copy became so; None when it is not."""
        found = await store.person(conn, self.key)
        if found is None:
            return None
        wanted = ("", "", False, True) if self.deleted else (self.email, self.mobile, self.reserved, False)
        has = ("", "", False, True) if found.deleted else (found.email, found.mobile, found.reserved, False)
        return found.changed_at if _plain(wanted) == _plain(has) else None

    @property
    def said(self) -> str:
        return ", ".join(part for part in (self.email, self.mobile) if part)


@dataclass(slots=True)
class AddressChange:
    """A professional address of an organisation."""

    key: str
    registry_id: str
    address: str
    deleted: bool
    sent: datetime
    arrived: datetime | None = None
    kind: str = "address"

    async def look(self, conn: ReadConn) -> datetime | None:
        if self.deleted:
            return await store.removed(conn, self.registry_id)
        found = await store.address(conn, self.registry_id)
        return found.changed_at if found and _same(found.address, self.address) else None

    @property
    def said(self) -> str:
        return self.address


Change = PersonChange | AddressChange


@dataclass(frozen=True, slots=True)
class Form:
    """What stands in the forms."""

    person: dict[str, str] = field(default_factory=dict)
    address: dict[str, str] = field(default_factory=dict)


class SandboxRegistries:
    """The page and its forms. What was changed is remembered while the process lives, as the registers' people are."""

    def __init__(self, parts: UiParts) -> None:
        self._parts = parts
        registry = parts.settings.registry
        self._people = str(registry.krr_changes_url) if registry.krr_sync_enabled else ""
        self._addresses = str(registry.business_feed_url) if registry.business_sync_enabled else ""
        self._changes: deque[Change] = deque(maxlen=_KEPT)

    def routes(self) -> list[BaseRoute]:
        access = self._parts.access
        return [access.page(PATH, self.show, Role.OPERATOR), access.act(PATH, self.change, Role.OPERATOR)]

    async def show(self, request: Request, who: Who) -> Response:
        return await self._page(request, who)

    async def change(self, request: Request, who: Who, form: dict[str, str]) -> Response:
        """Put somebody into a register, or take them out. `open`: into the form, to be changed."""
        given = {name: value.strip()[:_LONGEST] for name, value in form.items()}
        act = given.get("do", "")
        filled = Form(person=given) if act.endswith("person") else Form(address=given)
        if act in {"open_person", "open_address"}:
            return await self._page(request, who, filled=filled)
        try:
            if act == "person" and self._people:
                self._changes.appendleft(await self._put_person(given))
            elif act in {"address", "remove_address"} and self._addresses:
                self._changes.appendleft(await self._put_address(given, removed=act == "remove_address"))
            else:
                return back(PATH)
        except Refused:
            return await self._page(request, who, filled=filled, trouble="refused", status=422)
        except Unavailable:
            return await self._page(request, who, filled=filled, trouble="away", status=503)
        return back(f"{PATH}?done=yes")

    async def _put_person(self, given: dict[str, str]) -> PersonChange:
        now = self._parts.clock.now()
        key, email, mobile = given.get("id", "").replace(" ", ""), given.get("email", ""), given.get("mobile", "")
        reserved, deleted = given.get("reserved") == "yes", given.get("deleted") == "yes"
        told = (now - (_OLD if given.get("old") == "yes" else timedelta(minutes=1))).isoformat()
        row = {"id": key, "reserved": str(reserved).lower(), "deleted": str(deleted).lower()}
        row |= {"email": email, "email_updated": told} if email else {}
        row |= {"mobile": mobile, "mobile_updated": told} if mobile else {}
        await put_rows(self._people, Kind.PERSONS, [row])
        return PersonChange(key, email, mobile, reserved, deleted, now)

    async def _put_address(self, given: dict[str, str], *, removed: bool) -> AddressChange:
        now = self._parts.clock.now()
        number, address = given.get("org_no", "").replace(" ", ""), given.get("address", "").replace(" ", "")
        registry_id = given.get("registry_id") or uuid4().hex
        if not (valid_email(address) or any(letter.isdigit() for letter in address)):
            raise Refused
        if number not in ORGANISATIONS.values():
            await put_rows(self._addresses, Kind.ORGANISATIONS, [{"org_no": number, "name": given.get("name", "")}])
        row = {"registry_id": registry_id, "org_no": number, "kind": "email" if "@" in address else "sms"}
        await put_rows(
            self._addresses, Kind.ORG_ADDRESSES, [{**row, "address": address, "deleted": str(removed).lower()}]
        )
        return AddressChange(number, registry_id, address, removed, now)

    async def _page(
        self, request: Request, who: Who, *, filled: Form | None = None, trouble: str = "", status: int = 200
    ) -> Response:
        async with self._parts.db.reading() as conn:
            people = await store.people(conn, limit=_SHOWN)
            addresses = await store.addresses(conn, limit=_SHOWN)
            read = await store.last_read(conn)
            await self._look(conn)
        registry = self._parts.settings.registry
        return self._parts.pages.render(
            request,
            "sandbox_registries.html",
            now=self._parts.clock.now(),
            status=status,
            who=who,
            filled=filled or Form(),
            people=people,
            addresses=addresses,
            changes=list(self._changes),
            waiting=sum(change.arrived is None for change in self._changes),
            read=read,
            follows_people=bool(self._people),
            follows_addresses=bool(self._addresses),
            every=round(max(registry.krr_sync_interval, registry.business_sync_interval).total_seconds()),
            done="done" in request.query_params and not trouble,
            trouble=trouble,
            path=PATH,
        )

    async def _look(self, conn: ReadConn) -> None:
        """See which changes have come. Who looks first notes when; an earlier change of the same is overtaken."""
        overtaken = set[str]()
        for change in self._changes:
            name = change.registry_id if isinstance(change, AddressChange) else change.key
            if change.arrived is None and name not in overtaken and (at := await change.look(conn)):
                change.arrived = max(at, change.sent)
            overtaken.add(name)


def _plain(values: Sequence[object]) -> list[object]:
    return [_folded(value) if isinstance(value, str) else value for value in values]


def _folded(address: str) -> str:
    return normalise_mobile(address.replace(" ", "")).lower()


def _same(one: str, other: str) -> bool:
    return _folded(one) == _folded(other)
