"""The page about webhooks verifies signatures as it says."""

import re
from pathlib import Path
from time import time
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from varsel.domain.signatures import headers_of, new_secret, shown

PAGE: Final = Path(__file__).parents[2] / "docs" / "webhooks.md"
BODY: Final = b'{"specversion":"1.0"}'
SECRET: Final = new_secret()


def example() -> Any:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own page
    return names["is_genuine"]


is_genuine: Final = example()


def test_the_example_believes_what_we_sign_also_while_the_secret_changes() -> None:
    old, now = new_secret(), int(time())
    signed = headers_of("1", BODY, [SECRET, old], at=now)
    assert is_genuine(shown(SECRET), signed, BODY)
    assert is_genuine(shown(old), signed, BODY)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, BODY + b" "),
        ({"webhook-id": "2"}, BODY),
        ({"webhook-timestamp": str(int(time()) - 1_000)}, BODY),
        ({"webhook-timestamp": "now"}, BODY),
        ({"webhook-signature": "v1,"}, BODY),
        ({"webhook-signature": ""}, BODY),
        ({"webhook-signature": "v1,é v1 v2,AAAA"}, BODY),
    ],
)
def test_the_example_believes_nothing_else(headers: dict[str, str], body: bytes) -> None:
    signed = headers_of("1", BODY, [SECRET], at=int(time()))
    assert is_genuine(shown(SECRET), signed, BODY)
    assert not is_genuine(shown(SECRET), {**signed, **headers}, body)
    assert not is_genuine(shown(new_secret()), signed, BODY)
    late = headers_of("1", BODY, [SECRET], at=int(time()) - 301)
    assert not is_genuine(shown(SECRET), late, BODY)


@given(st.dictionaries(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text()))
def test_the_example_answers_to_anything(headers: dict[str, str]) -> None:
    assert not is_genuine(shown(SECRET), headers, BODY)
