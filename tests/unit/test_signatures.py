"""Signatures of webhooks, both ways (channels 5.4, 7.3)."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.signatures import headers_of, new_secret, secret_of, shown, verified

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
AT = int(NOW.timestamp())
KEY = bytes(range(32))

ids = st.text(alphabet=st.characters(codec="ascii", exclude_characters="."), min_size=1, max_size=64)
keys = st.binary(min_size=24, max_size=64)


def test_the_example_of_the_specification_is_signed_as_there() -> None:
    secret = secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = headers_of("msg_p5jXN8AQM9LWM0D4loKWxJek", b'{"test": 2432232314}', [secret], at=1614265330)
    assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert verified(signed, b'{"test": 2432232314}', [secret], now=datetime.fromtimestamp(1614265330, UTC))


@given(ids, st.binary(max_size=200), st.lists(keys, min_size=1, max_size=3), st.integers(-300, 300))
def test_what_any_shared_key_signed_within_five_minutes_is_verified(
    message: str, body: bytes, shared: list[bytes], late: int
) -> None:
    signed = headers_of(message, body, shared, at=AT + late)
    assert all(verified(signed, body, [key], now=NOW) for key in shared)


@given(ids, st.binary(max_size=50), st.data())
def test_what_was_changed_or_signed_by_another_key_is_not_verified(
    message: str, body: bytes, data: st.DataObject
) -> None:
    signed = headers_of(message, body, [KEY], at=AT)
    forged = data.draw(
        st.sampled_from(
            [
                ({**signed, "webhook-id": message + "x"}, body, KEY),
                ({**signed, "webhook-timestamp": str(AT + 1)}, body, KEY),
                (signed, body + b" ", KEY),
                (signed, body, KEY[::-1]),
                ({**signed, "webhook-signature": signed["webhook-signature"].replace("v1,", "v2,")}, body, KEY),
                *[
                    ({name: value for name, value in signed.items() if name != left_out}, body, KEY)
                    for left_out in signed
                ],
            ]
        )
    )
    headers, changed, key = forged
    assert not verified(headers, changed, [key], now=NOW)


@pytest.mark.parametrize("late", [timedelta(minutes=5, seconds=1), timedelta(days=1)])
def test_what_was_signed_more_than_five_minutes_away_is_not_verified(late: timedelta) -> None:
    signed = headers_of("m", b"", [KEY], at=AT)
    assert not verified(signed, b"", [KEY], now=NOW + late)
    assert not verified(signed, b"", [KEY], now=NOW - late)


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()))
def test_headers_of_any_kind_are_answered(headers: dict[str, str]) -> None:
    assert not verified(headers, b"", [KEY], now=NOW)


def test_a_secret_is_read_as_it_is_shown() -> None:
    secret = new_secret()
    assert secret_of(shown(secret)) == secret
    assert new_secret() != secret


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_????", "secret", f"whsec_{base64.b64encode(b'short').decode()}"])
def test_what_is_no_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a secret is whsec_"):
        secret_of(text)
