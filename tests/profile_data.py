"""Users, parties and rights for tests of the user profile: those of the personas, and calls in a user's name."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from serving import HOUR, Client, Reply
from varsel.clock import Clock
from varsel.db import Database, fetch_value
from varsel.issuer import ENDUSER_SCOPE
from varsel.recipients.load.folder import load_personas
from varsel.recipients.personas import ORGANISATIONS, PERSONS

USERS: Final = "/profile/api/v1/users/current"
PARTIES: Final = f"{USERS}/notificationsettings/parties"
VERIFICATION: Final = f"{USERS}/verification"
LEADER, COLLEAGUE, STRANGER, GUEST, OLD_USER = 101, 102, 103, 201, 202  # users of the personas
O1, O2, O5, O6 = (ORGANISATIONS[key] for key in ("O1", "O2", "O5", "O6"))
P1, P3 = PERSONS["P1"], PERSONS["P3"]


@dataclass(frozen=True)
class Users:
    """Calls as a user of the portal, unless told otherwise."""

    client: Client
    database: Database

    async def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        user: int = LEADER,
        scopes: Collection[str] = (ENDUSER_SCOPE,),
    ) -> Reply:
        token = self.client.issuer.mint_user(user, HOUR, scopes=scopes)
        headers = {"Authorization": f"Bearer {token}"}
        return await asyncio.to_thread(self.client.call, method, path, body, headers=headers)

    async def party(self, org_no: str) -> UUID:
        """The UUID of an organisation."""
        sql = """SELECT coalesce(party_uuid, md5('varsel:' || org_no)::uuid)
                   FROM registry.organisation WHERE org_no = %(org_no)s"""
        value = await self.value(sql, org_no=org_no)
        assert isinstance(value, UUID)
        return value

    async def verify(self, kind: str, *addresses: str, user: int = LEADER) -> None:
        """As if the user had sent the right code."""
        async with self.database.autocommit() as conn:
            for address in addresses:
                sql = """INSERT INTO registry.verified_address (user_id, address, kind, verified_at)
                         VALUES (%(user)s, %(address)s, %(kind)s, now())"""
                await conn.execute(sql, {"user": user, "address": address, "kind": kind})

    async def value(self, sql: str, **params: Any) -> Any:
        async with self.database.reading() as conn:
            return await fetch_value(conn, sql, params)


async def personas(database: Database, clock: Clock) -> None:
    await load_personas(database, clock=clock)
