"""Webhooks over HTTP, as their owners manage them (channels 7.1)."""

import asyncio
import re
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from standardwebhooks import Webhook as Verifier

from receivers import Hooks, hooks_on, receiving
from serving import Api, Reply
from varsel.webhooks.owner import MOST

PATH: Final = "/notifications/api/v1/future/webhooks"
URL: Final = "https://cases.example.com/varsel"
WISH: Final = {"url": URL, "events": ["order.completed.v1"]}
ACTIONS: Final = ("ping", "pause", "resume", "secret")


async def call(api: Api, method: str, path: str, body: object = None, **how: Any) -> Reply:
    return await asyncio.to_thread(api.client.call, method, path, body, **how)


async def created(api: Api, body: object = WISH, **how: Any) -> dict[str, Any]:
    reply = await call(api, "POST", PATH, body, **how)
    assert reply.status == 201, reply.content
    answer: dict[str, Any] = reply.json
    assert reply.headers["Location"] == f"http://localhost:5090{PATH}/{answer['id']}"
    return answer


async def test_a_new_webhook_is_pending_and_its_secret_is_shown_once(api: Api) -> None:
    body = {**WISH, "events": ["order.completed.v1", "order.completed.v1", "notification.correction.v1"]}
    made = await created(api, {**body, "description": "the case system", "includeDestinations": True})
    secret = made.pop("secret")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", secret)
    Verifier(secret)
    id_ = made["id"]
    assert made == {
        "id": id_,
        "url": URL,
        "events": ["order.completed.v1", "notification.correction.v1"],
        "description": "the case system",
        "includeDestinations": True,
        "state": "pending",
        "stateSince": "2026-11-23T10:00:00Z",
        "created": "2026-11-23T10:00:00Z",
        "lastSequence": 0,
        "waiting": 0,
        "failures": 0,
    }
    assert (await call(api, "GET", f"{PATH}/{id_}")).json == made
    assert (await call(api, "GET", PATH)).json == {"count": 1, "webhooks": [made]}
    deliveries = (await call(api, "GET", f"{PATH}/{id_}/deliveries")).json
    assert deliveries["count"] == 1
    [ping] = deliveries["deliveries"]
    assert (ping["event"], ping["state"], ping["attempts"]) == ("ping.v1", "waiting", 0)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"url": "http://cases.example.com/"}, "Url"),
        ({"url": "https://127.0.0.1/"}, "Url"),
        ({"url": "https://localhost/"}, "Url"),
        ({"url": "https://cases.example.com:8443/"}, "Url"),
        ({"url": "https://cases.example.com/" + "a" * 2_048}, "Url"),
        ({"url": ""}, "Url"),
        ({"url": None}, "Url"),
        ({"url": 1}, "$.url"),
        ({"events": []}, "$.events"),
        ({"events": ["ping.v1"]}, "$.events[0]"),
        ({"events": ["order.completed.v1"] * 21}, "$.events"),
        ({"events": "order.completed.v1"}, "$.events"),
        ({"events": None}, "Events"),
        ({"description": "a" * 501}, "$.description"),
        ({"description": "\0"}, "Description"),
        ({"includeDestinations": "yes"}, "$.includeDestinations"),
        ({"includeDestinations": None}, "IncludeDestinations"),
    ],
)
async def test_what_cannot_be_is_refused_and_named(api: Api, change: dict[str, Any], key: str) -> None:
    made = await created(api)
    for method, path in (("POST", PATH), ("PUT", f"{PATH}/{made['id']}")):
        reply = await call(api, method, path, {**WISH, **change})
        assert set(reply.errors) == {key}, reply.content
    assert (await call(api, "GET", PATH)).json["count"] == 1


async def test_webhooks_of_others_do_not_exist(api: Api) -> None:
    id_ = (await created(api))["id"]
    path = f"{PATH}/{id_}"
    requests: list[tuple[str, str, object]] = [
        ("GET", path, None),
        ("PUT", path, WISH),
        *(("POST", f"{path}/{action}", None) for action in ACTIONS),
        ("POST", f"{path}/replay", {"fromSequence": 1}),
        ("GET", f"{path}/deliveries", None),
        ("DELETE", path, None),
    ]
    for method, where, body in requests:
        for other in (where.replace(id_, str(uuid4())), where.replace(id_, "none")):
            reply = await call(api, method, other, body)
            assert (reply.status, reply.json["title"]) == (404, "Not Found")
        assert (await call(api, method, where, body, org="nav")).status == 404
        assert (await call(api, method, where, body, headers={"Authorization": None})).status == 401
        assert (await call(api, method, where, body, scopes=["altinn:other"])).status == 403
        assert (await call(api, method, where, body, org=None)).status == 403
    assert (await call(api, "GET", PATH, org="nav")).json == {"count": 0, "webhooks": []}
    assert (await call(api, "GET", path)).json["state"] == "pending"


async def test_there_are_ten_for_each_creator_also_when_they_come_at_once(api: Api) -> None:
    replies = await asyncio.gather(*(call(api, "POST", PATH, WISH) for _ in range(MOST + 5)))
    assert sorted(reply.status for reply in replies) == [201] * MOST + [409] * 5
    refused = next(reply for reply in replies if reply.status == 409)
    assert refused.json["detail"] == "There are 10 webhooks already. Delete one first."
    await created(api, org="nav")
    first = (await call(api, "GET", PATH)).json["webhooks"][0]["id"]
    assert (await call(api, "DELETE", f"{PATH}/{first}")).status == 204
    assert (await call(api, "DELETE", f"{PATH}/{first}")).status == 404
    await created(api)


async def test_it_is_paused_and_resumed_by_its_owner(api: Api) -> None:
    path = f"{PATH}/{(await created(api))['id']}"
    api.road.clock.advance(timedelta(hours=1))
    for _ in range(2):
        paused = await call(api, "POST", f"{path}/pause")
        assert paused.status == 200
        assert (paused.json["state"], paused.json["stateReason"]) == ("paused", "owner")
        assert paused.json["stateSince"] == "2026-11-23T11:00:00Z"
    resumed = (await call(api, "POST", f"{path}/resume")).json
    assert (resumed["state"], "stateReason" in resumed) == ("pending", False)  # it was never confirmed


async def test_a_new_secret_is_shown_once_and_the_old_one_ends_after_a_day(api: Api) -> None:
    made = await created(api)
    path = f"{PATH}/{made['id']}"
    rotated = (await call(api, "POST", f"{path}/secret")).json
    assert rotated["secret"] != made["secret"]
    assert rotated["oldSecretUntil"] == "2026-11-24T10:00:00Z"
    shown = (await call(api, "GET", path)).json
    assert "secret" not in shown
    assert shown["oldSecretUntil"] == "2026-11-24T10:00:00Z"
    api.road.clock.advance(timedelta(days=1))
    assert "oldSecretUntil" not in (await call(api, "GET", path)).json


async def test_another_address_is_pending_again_and_other_wishes_are_not(api: Api) -> None:
    async with hooks_on(api.road) as hooks, receiving() as receiver:
        id_, _ = await hooks.subscribe(receiver.url)
        path = f"{PATH}/{id_}"
        stays = (await call(api, "PUT", path, {**WISH, "description": "d"})).json
        assert (stays["state"], stays["url"], stays["description"]) == ("pending", URL, "d")
        assert (await call(api, "POST", f"{path}/pause")).json["state"] == "paused"
        moved = (await call(api, "PUT", path, {**WISH, "url": URL + "/2"})).json
        assert (moved["state"], moved["url"], "description" in moved) == ("paused", URL + "/2", False)
        assert (await call(api, "POST", f"{path}/resume")).json["state"] == "pending"


async def test_a_replay_goes_back_to_a_number_that_there_is(api: Api) -> None:
    async with hooks_on(api.road) as hooks, receiving() as receiver:
        before = await hooks.happen(None, None)
        id_, _ = await hooks.subscribe(receiver.url)
        path = f"{PATH}/{id_}/replay"
        seqs = await hooks.happen(None, None, None)
        await _push(hooks)
        assert sorted(receiver.seqs) == seqs
        for wrong in (0, -1, seqs[-1] + 2, 10**17):
            assert set((await call(api, "POST", path, {"fromSequence": wrong})).errors) == {"FromSequence"}
        assert set((await call(api, "POST", path, {})).errors) == {"FromSequence"}
        receiver.got.clear()
        for start in (str(before[1]), seqs[-1] + 1):
            reply = await call(api, "POST", path, {"fromSequence": start})
            assert reply.status == 202
            assert reply.headers["Location"] == f"http://localhost:5090{PATH}/{id_}/deliveries"
            await _push(hooks)
        assert sorted(receiver.seqs) == [before[1], *seqs]
        assert (await hooks.webhook(id_)).position == seqs[-1]


async def test_deliveries_tell_what_became_of_each_event_the_last_first(api: Api) -> None:
    async with hooks_on(api.road) as hooks, receiving() as receiver:
        id_, _ = await hooks.subscribe(receiver.url)
        [taken] = await hooks.happen(None)
        await _push(hooks)
        api.road.clock.advance(timedelta(seconds=1))
        receiver.answer = lambda _: 503
        [failed] = await hooks.happen(None)
        await _push(hooks)
        path = f"{PATH}/{id_}/deliveries"
        told = (await call(api, "GET", path)).json
        assert told["count"] == 2
        first, second = told["deliveries"]
        assert first["milliseconds"] >= 0
        assert (first["sequenceNumber"], first["state"], first["statusCode"], first["attempts"]) == (
            failed, "waiting", 503, 1
        )  # fmt: skip
        assert first["lastAttempt"] == "2026-11-23T10:00:01Z"
        assert first["nextAttempt"] > first["lastAttempt"]
        assert (second["sequenceNumber"], second["state"], second["statusCode"]) == (taken, "delivered", 204)
        assert second["eventId"] == receiver.events[0].id
        assert second["shipmentId"] == receiver.events[0].shipment
        assert "nextAttempt" not in second
        shown = (await call(api, "GET", f"{PATH}/{id_}")).json
        assert (shown["waiting"], shown["failures"], shown["lastSequence"]) == (1, 1, failed)
        assert (shown["lastSuccess"], shown["nextAttempt"]) == ("2026-11-23T10:00:00Z", first["nextAttempt"])
        assert (await call(api, "GET", f"{path}?pageSize=1")).json["count"] == 1
        assert (await call(api, "GET", f"{path}?pagesize=0")).json["count"] == 1
        assert set((await call(api, "GET", f"{path}?pageSize=x")).errors) == {"PageSize"}


async def test_pings_that_are_asked_for_again_and_again_are_a_few_seconds_apart(api: Api) -> None:
    async with hooks_on(api.road) as hooks, receiving() as receiver:
        id_, _ = await hooks.subscribe(receiver.url, active=False)
        path = f"{PATH}/{id_}"
        for _ in range(5):
            reply = await call(api, "POST", f"{path}/ping")
            assert reply.status == 202
            await _push(hooks)
        assert len(receiver.got) == 1
        assert (await call(api, "GET", path)).json["state"] == "active"
        api.road.clock.advance(timedelta(seconds=5))
        await _push(hooks)
        assert len(receiver.got) == 2


async def test_secrets_are_in_no_answer_but_the_first(api: Api) -> None:
    made = await created(api)
    path = f"{PATH}/{made['id']}"
    rotated = (await call(api, "POST", f"{path}/secret")).json["secret"]
    replies = [
        await call(api, "GET", PATH),
        await call(api, "GET", path),
        await call(api, "PUT", path, WISH),
        await call(api, "GET", f"{path}/deliveries"),
        *[await call(api, "POST", f"{path}/{action}") for action in ("ping", "pause", "resume")],
    ]
    for reply in replies:
        assert not [secret for secret in (made["secret"], rotated) if secret.encode() in reply.content]
        assert b"whsec_" not in reply.content


async def _push(hooks: Hooks) -> None:
    if not hooks.pushers:
        hooks.pusher()
    await hooks.pushers[0].run()
