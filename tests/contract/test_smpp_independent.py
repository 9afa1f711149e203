"""The simulated SMSC and a client that is not ours, `smpplib` (channels 8.4, assertion 91): both speak SMPP."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import smpplib.client
import smpplib.consts
import smpplib.exceptions

from gateways import Inbox, sms, tools
from varsel.delivery.ports import Accepted, Verdict
from varsel.providers.smpp import SmppProvider, SmppProviderSettings
from varsel.simulators.smpp import Habits, SmscSimulator

PASSWORD = "secret!!"
ACCOUNTS = {"varsel": PASSWORD}


@contextmanager
def bound(port: int, password: str = PASSWORD) -> Iterator[Any]:
    client = smpplib.client.Client("127.0.0.1", port, timeout=20, allow_unknown_opt_params=True)
    client.connect()
    try:
        client.bind_transceiver(system_id="varsel", password=password)
        yield client
        client.unbind()
    finally:
        client.disconnect()


def converse(port: int, text: bytes, parts: int) -> tuple[list[str], list[tuple[str, int]]]:
    """Submit, and read answers and receipts: the ids that were given, and the ids and states of the receipts."""
    given: list[str] = []
    receipts: list[tuple[str, int]] = []

    def answered(pdu: Any) -> None:
        given.append(pdu.message_id.decode())

    def received(pdu: Any) -> int:
        receipts.append((pdu.receipted_message_id.decode().rstrip("\0"), pdu.message_state))
        return 0

    with bound(port) as client:
        client.set_message_sent_handler(answered)
        client.set_message_received_handler(received)
        for _ in range(parts):
            client.send_message(
                source_addr_ton=smpplib.consts.SMPP_TON_ALNUM,
                source_addr="Etaten",
                dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
                dest_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
                destination_addr="4799999500",
                short_message=text,
                data_coding=0,
                registered_delivery=True,
            )
        while len(given) < parts or len(receipts) < parts:
            client.read_once()
    return given, receipts


@pytest.mark.assertion("channels", 91)
async def test_an_independent_client_submits_to_our_smsc_and_gets_its_receipts() -> None:
    async with SmscSimulator(ACCOUNTS, 0.001) as smsc:
        given, receipts = await asyncio.to_thread(converse, smsc.port, b"Hei p\x0f deg", 3)
        assert [arrived.text for arrived in smsc.arrived] == ["Hei på deg"] * 3
        assert sorted(given) == sorted(str(taken.id) for taken in smsc.submitted)
        assert sorted(receipts) == sorted((id_, 2) for id_ in given)


@pytest.mark.assertion("channels", 91)
async def test_our_smsc_refuses_an_independent_client_with_a_wrong_password() -> None:
    def refused() -> int:
        with pytest.raises(smpplib.exceptions.PDUError) as problem, bound(port, "wrong"):
            pass
        return int(problem.value.args[1])

    async with SmscSimulator(ACCOUNTS) as smsc:
        port = smsc.port
        assert await asyncio.to_thread(refused) == smpplib.consts.SMPP_ESME_RINVPASWD


@pytest.mark.assertion("channels", 91)
async def test_our_client_works_against_the_same_smsc_with_receipts() -> None:
    inbox = Inbox()
    async with SmscSimulator(ACCOUNTS, 0.001, habits=Habits()) as smsc:
        values = {"name": "s", "host": "127.0.0.1", "port": smsc.port, "tls": "none", "system_id": "varsel"}
        settings = SmppProviderSettings.model_validate({**values, "password": PASSWORD})
        provider = SmppProvider(settings, tools(inbox))
        (result,) = await provider.send([sms()])
        (report,) = await inbox.wait_for(1)
        await provider.close()
    assert isinstance(result, Accepted)
    assert (report.reference, report.verdict) == (result.reference, Verdict.DELIVERED)
