"""Logs say what happened and where, and never about whom (registries 1.8, design promise 7)."""

import json
import logging
from collections.abc import Iterator

import pytest

from varsel import log
from varsel.domain.errors import Rejected

PERSON = "14838510036"


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.handlers.clear()  # the test's own: `configure` would close them
    yield capsys
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def our_log() -> log.Log:
    logging.root.handlers.clear()
    log.configure("INFO")
    return log.Log("varsel.test")


def written(lines: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in lines.readouterr().err.splitlines()]


def test_an_event_is_one_line_with_its_fields(lines: pytest.CaptureFixture[str]) -> None:
    our_log().info("order stored", order_id="o1", attempt=2)
    (event,) = written(lines)
    assert (event["event"], event["order_id"], event["attempt"], event["level"]) == ("order stored", "o1", 2, "info")


def test_fields_named_like_personal_data_and_identity_numbers_are_left_out(lines: pytest.CaptureFixture[str]) -> None:
    our_log().info("looked up", email="kari@example.com", note=f"about {PERSON}")
    text = lines.readouterr().err
    assert "kari" not in text
    assert PERSON not in text


def test_an_error_of_others_is_named_and_placed_but_not_quoted(lines: pytest.CaptureFixture[str]) -> None:
    def stumble() -> None:
        raise ValueError("kari@example.com is not a number")

    try:
        stumble()
    except ValueError as error:
        our_log().error("step failed", exc=error)
    (event,) = written(lines)
    assert "builtins.ValueError" in str(event["error"])
    assert "in stumble" in str(event["error"])
    assert "kari@" not in str(event["error"]).replace('raise ValueError("kari@example.com is not a number")', "")


def test_our_own_errors_are_quoted(lines: pytest.CaptureFixture[str]) -> None:
    our_log().error("refused", exc=Rejected("clock-advance", "The clock moves forward."))
    (event,) = written(lines)
    assert str(event["error"]).endswith("varsel.domain.errors.Rejected: The clock moves forward.")
