"""The command line is there at once: completion, help and wrong names import none of what the commands need."""

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from varsel.cli.main import COMMANDS, cli

SLOW = ("psycopg", "pydantic", "fastapi", "uvicorn", "asyncio", "aiohttp", "joserfc", "cryptography", "rich.table")
TOKEN = {"VARSEL_TOKEN": "t", "VARSEL_URL": "http://127.0.0.1:1"}


def completed(line: str, shell: str = "bash") -> list[str]:
    """What the shell is offered for the last word."""
    words = line.split(" ")
    variables = {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_VARSEL_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(
        [sys.executable, "-c", "from varsel.cli.main import main; main()"],
        env={**os.environ, **variables}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [found.partition(",")[2] for found in done.stdout.split()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_taught_to_complete(shell: str) -> None:
    script = CliRunner().invoke(cli, ["completion", shell])
    assert script.exit_code == 0
    assert f"_VARSEL_COMPLETE={shell}_complete" in script.stdout


def test_commands_options_and_choices_are_completed() -> None:
    assert completed("varsel st") == ["status"]
    assert set(completed("varsel ")) == {name for name, command in COMMANDS.items() if not command.hidden}
    assert completed("varsel status --fol") == ["--follow"]
    assert completed("varsel order --channel Email") == ["Email", "EmailPreferred", "EmailAndSms"]
    assert completed("varsel deadletters re") == ["replay", "resolve"]
    assert completed("varsel --ver") == ["--version"]


@pytest.mark.parametrize(
    "words",
    [
        ["order", "--help"],
        ["status", "--help"],
        ["feed", "--help"],
        ["preview", "--help"],
        ["order", "--mobile", "1", "--text", "x", "--at", "never"],
        ["nothing"],
        ["completion", "bash"],
    ],
)
def test_a_client_command_starts_without_what_it_does_not_need(words: list[str]) -> None:
    code = f"""
import sys
from click.testing import CliRunner
before = set(sys.modules)
from varsel.cli.main import cli
CliRunner().invoke(cli, {words!r}, env={TOKEN!r})
found = [name for name in {SLOW!r} if name in set(sys.modules) - before]
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_with_a_token_nothing_of_the_service_is_imported_to_call_it() -> None:
    code = f"""
import os, sys
os.environ.update({TOKEN!r})
from datetime import timedelta
from varsel.cli.client import Where, service
with service(Where({TOKEN["VARSEL_URL"]!r}, "t", None, None)):
    pass
assert not [name for name in {SLOW!r} if name in sys.modules]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_almost_right_is_put_right() -> None:
    told = CliRunner().invoke(cli, ["stauts"])
    assert (told.exit_code, "do you mean 'status'?" in told.output) == (2, True)
    assert "there is no command 'xyz'" in CliRunner().invoke(cli, ["xyz"]).output
