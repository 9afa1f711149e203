"""How far orders judge identifiers (registries 1.5), and which the settings take."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from serving import ORDERS, Client, Orders, make_parts, served
from varsel.api.app import create_app
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.settings import Settings


@contextmanager
def front(home: Path, **registry: Any) -> Iterator[Client]:
    nowhere = Database("host=127.0.0.1 port=1", size=1, name="never opened")
    settings = Settings.model_validate({"registry": registry})
    parts = make_parts(home, SystemClock(), nowhere, Orders().register, settings)
    with served(create_app(parts)) as port:
        assert parts.issuer
        yield Client(port, parts.issuer)


def order(**recipient: str) -> dict[str, Any]:
    return {"subject": "Hi", "body": "Hi", "recipients": [recipient]}


@pytest.mark.parametrize(
    ("level", "person", "organisation"),
    [
        ("shape", "31928510036", "123456789"),
        ("checksum", "00000000000", "000000000"),
        ("strict", "14838510036", "310001007"),
    ],
)
def test_an_order_judges_as_far_as_the_level_says(tmp_path: Path, level: str, person: str, organisation: str) -> None:
    levels = ["shape", "checksum", "strict"]
    with front(tmp_path, validation_level=level) as client:
        for sent, least in (("31928510036", "shape"), ("00000000000", "checksum"), ("14838510036", "strict")):
            taken = levels.index(least) >= levels.index(level)
            reply = client.post(f"{ORDERS}/email", order(nationalIdentityNumber=sent))
            assert reply.status == (202 if taken else 400), (level, sent)
        assert client.post(f"{ORDERS}/email", order(nationalIdentityNumber=person)).status == 202
        assert client.post(f"{ORDERS}/email", order(organizationNumber=organisation)).status == 202
        assert client.post(f"{ORDERS}/email", order(organizationNumber="12345678")).status == 400


def test_a_chain_judges_alike(tmp_path: Path) -> None:
    person = {"channelSchema": "Sms", "smsSettings": {"body": "Hi"}, "nationalIdentityNumber": "00000000000"}
    chain = {"idempotencyId": "1", "recipient": {"recipientPerson": person}}
    path = "/notifications/api/v1/future/orders"
    with front(tmp_path) as client:
        assert client.post(path, chain).status == 201
    with front(tmp_path, validation_level="strict") as client:
        assert list(client.post(path, chain).errors) == ["Recipient.RecipientPerson.NationalIdentityNumber"]


def test_a_scheme_must_be_one() -> None:
    good = {"name": "x", "kind": "person", "pattern": "[0-9]+"}
    Settings.model_validate({"registry": {"schemes": [good]}})
    for wrong in ({"pattern": "["}, {"kind": "dog"}, {"check": "mod10"}, {"colour": "red"}):
        with pytest.raises(ValidationError):
            Settings.model_validate({"registry": {"schemes": [{**good, **wrong}]}})


def test_a_text_that_sends_a_code_has_a_place_for_it() -> None:
    texts = {"sms": "Kode: $code$", "subject": "Kode", "email": "<b>$code$</b>"}
    assert Settings.model_validate({"profile": {"nb": texts}}).profile.nb.sms == "Kode: $code$"
    for wrong in ({"sms": "Kode"}, {"email": "$code$ $code$"}):
        with pytest.raises(ValidationError):
            Settings.model_validate({"profile": {"nb": {**texts, **wrong}}})
