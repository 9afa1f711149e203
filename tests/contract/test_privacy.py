"""What is logged, and answered as an error, names nobody: no identity number, address, text or secret (promise 7)."""

import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest

from road import GRACE, LIFETIME
from serving import ORDERS, Api, Reply
from varsel import log
from varsel.delivery.ports import Deferred, Refused, SendResult, Unknown, Verdict
from varsel.domain.notification import Channel, Reason
from varsel.issuer import COMPOSED_SCOPE
from varsel.recipients.ports import PersonContact
from varsel.resolution.ports import Verdict as Condition

KARI, RESERVED, NOBODY, POISON = "14838510036", "01916012086", "05854515049", "22957713118"
EMAIL, MOBILE, TEXT, SIGNATURE = "kari.nordmann@example.com", "+4799999501", "Innkalling til time", "c2VjcmV0c2ln"
CHAINS: Final = "/notifications/api/v1/future/orders"
FORBIDDEN: Final = re.compile(  # eleven digits inside a random id are none of anybody's
    rf"(?<![0-9a-f])\d{{11}}(?![0-9a-f])|kari\.nordmann|{re.escape(MOBILE)}|99999501|{TEXT}|{SIGNATURE}", re.IGNORECASE
)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """What the process logs, at its most talkative."""
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers.clear()  # the test's own: `configure` would close them
    log.configure("DEBUG")
    yield capsys
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def orders() -> Iterator[tuple[str, dict[str, Any]]]:
    """Good and bad ones, each full of what must not be told."""
    people = [{"nationalIdentityNumber": id_} for id_ in (KARI, RESERVED, NOBODY)]
    email = {"subject": TEXT, "body": f"{TEXT} {KARI}"}
    yield f"{ORDERS}/email", {**email, "recipients": [*people, {"emailAddress": EMAIL}]}
    yield f"{ORDERS}/email", {**email, "recipients": [{"nationalIdentityNumber": POISON}]}
    yield f"{ORDERS}/sms", {"body": TEXT, "recipients": [{"mobileNumber": MOBILE}]}
    yield f"{ORDERS}/email", {**email, "recipients": [{"emailAddress": f"{EMAIL};{EMAIL}", "mobileNumber": KARI}]}
    yield f"{ORDERS}/email", {**email, "subject": [TEXT], "recipients": [{"emailAddress": [EMAIL]}]}
    yield f"{ORDERS}/email", {**email, "conditionEndpoint": f"x:{KARI}", "recipients": [{"emailAddress": EMAIL}]}
    person = {"nationalIdentityNumber": NOBODY, "channelSchema": "Email", "emailSettings": email}
    yield CHAINS, {"idempotencyId": KARI, "recipient": {"recipientPerson": person}}
    attached = {"filename": TEXT, "mimeType": EMAIL, "sasUrl": f"https://a.example/{KARI}?sig={SIGNATURE}"}
    composed = {"emailAddress": EMAIL, "emailSettings": {**email, "attachments": [attached]}}
    yield f"{CHAINS}/composed-email", {"idempotencyId": KARI, "recipient": composed}
    sms = {"phoneNumber": f"{MOBILE}0", "timeToLiveInSeconds": 1, "smsSettings": {"body": TEXT}}
    yield f"{CHAINS}/instant/sms", {"idempotencyId": KARI, "recipientSms": sms}


@pytest.mark.assertion("processing", 137)
@pytest.mark.assertion("channels", 6)
@pytest.mark.assertion("registries", 12)
async def test_whatever_goes_wrong_nobody_is_named(api: Api, lines: pytest.CaptureFixture[str]) -> None:
    road = api.road
    road.directory.people = {
        KARI: PersonContact(False, email=EMAIL, mobile=MOBILE),
        RESERVED: PersonContact(True, email=EMAIL),
        POISON: PersonContact(False, email=EMAIL),
    }
    answers: list[SendResult] = [
        Deferred("450 4.2.0"), Unknown("lost"), Refused(Reason.BOUNCED, "550"), Deferred("connection refused"),
    ] * 9  # fmt: skip
    road.mail.answers = road.sms.answers = lambda _: answers.pop(0)
    road.conditions.answers = [Condition.INCONCLUSIVE]
    replies: list[Reply] = []
    for path, body in orders():
        scopes = (COMPOSED_SCOPE,) if "composed" in path else None
        replies.append(await api.client.apost(path, body, **({"scopes": scopes} if scopes else {})))
    refused = [reply for reply in replies if reply.status >= 400]
    assert [reply.status for reply in refused] == [400, 400, 400, 422, 400, 400]
    road.directory.poison = POISON  # asking for this identifier is a bug
    await road.report(None, Verdict.DELIVERED, reference=KARI, provider="sms", channel=Channel.SMS)
    for _ in range(4):
        await road.run()
        road.clock.advance(timedelta(minutes=20))
    road.directory.down = True
    replies.append(await api.client.apost(*next(orders())))
    assert replies[-1].status == 503
    road.clock.advance(LIFETIME + GRACE)
    await road.run()
    logged = lines.readouterr().err
    assert "order cannot be resolved" in logged
    assert "possible duplicate" in logged
    assert FORBIDDEN.findall(logged) == []
    for reply in (*refused, replies[-1]):
        assert FORBIDDEN.findall(reply.content.decode()) == []
