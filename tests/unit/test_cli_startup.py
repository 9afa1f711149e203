"""What the commands do before they do anything: settings, safety, ports, and how the children get to know them."""

import socket
import subprocess
import sys
import tomllib
from datetime import timedelta
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from varsel import settings
from varsel.cli.child_settings import sandbox_values, toml, write_settings
from varsel.cli.main import COMMANDS, cli
from varsel.cli.startup import (
    Refused,
    is_loopback,
    listen,
    load_settings,
    refuse_unsafe,
    with_suppression_key,
)
from varsel.settings import Settings, SmtpProviderSettings

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = texts | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
members = st.lists(st.dictionaries(texts, scalars | st.lists(scalars, max_size=3), max_size=3), max_size=3)
sections = st.dictionaries(texts, scalars | members, max_size=4)


@given(st.dictionaries(texts, scalars | members | sections, max_size=5))
def test_settings_written_for_the_children_read_back_the_same(values: dict[str, object]) -> None:
    assert tomllib.loads(toml(values)) == values


def test_the_sandbox_is_complete_harmless_and_the_same_person_after_a_restart(tmp_path: Path) -> None:
    first, again = (
        settings.load({"VARSEL_CONFIG": str(write_settings(tmp_path, sandbox_values(tmp_path)))}) for _ in range(2)
    )
    assert first.sandbox.enabled
    assert first.auth.development_issuer
    assert first.processing.sms_window_always_open
    assert first.delivery.settle_email_after == first.delivery.unknown_wait == timedelta(seconds=5)
    mail, sms = first.providers
    assert (mail.type, mail.name, sms.type, sms.name) == ("smtp", "sandbox-mail", "link", "sandbox-sms")
    assert isinstance(mail, settings.SmtpProviderSettings)
    assert is_loopback(mail.host)
    assert isinstance(sms, settings.LinkProviderSettings)
    assert sms.url.startswith("http://127.0.0.1:")
    kept = again.providers[1]
    assert isinstance(kept, settings.LinkProviderSettings)
    assert kept.report_password == sms.report_password
    assert again.bounces.keys == first.bounces.keys


def test_the_file_for_the_children_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_settings(tmp_path, {"database_url": "postgresql://u:secret@/db"} | sandbox_values(tmp_path))
    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600, 0o600]


def test_the_children_get_the_operators_file_with_the_sandbox_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.toml"
    own.write_text('log_level = "ERROR"\n[delivery]\nmax_attempts = 3\nunknown_wait = 900\n')
    monkeypatch.setenv("VARSEL_CONFIG", str(own))
    read = settings.load({"VARSEL_CONFIG": str(write_settings(tmp_path, sandbox_values(tmp_path)))})
    assert read.log_level == "ERROR"
    assert read.delivery.max_attempts == 3
    assert read.delivery.unknown_wait == timedelta(seconds=5)


def test_wrong_settings_are_named_and_their_values_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARSEL_SERVER__PORT", "hunter2")
    monkeypatch.setenv("VARSEL_SERVER__COLOUR", "blue")
    with pytest.raises(Refused) as refused:
        load_settings()
    assert "VARSEL_SERVER__PORT" in refused.value.message
    assert "VARSEL_SERVER__COLOUR" in refused.value.message
    assert "hunter2" not in refused.value.message


def test_the_command_line_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARSEL_SERVER__PORT", "6000")
    assert load_settings({"VARSEL_SERVER__PORT": None}).server.port == 6000
    assert load_settings({"VARSEL_SERVER__PORT": 7000}).server.port == 7000


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "notify.example"])  # noqa: S104
def test_outside_production_other_machines_are_let_in_only_on_purpose(host: str) -> None:
    chosen = settings.load({"VARSEL_SERVER__HOST": host})
    with pytest.raises(Refused, match="--expose"):
        refuse_unsafe(chosen, expose=False)
    refuse_unsafe(chosen, expose=True)
    refuse_unsafe(settings.load({"VARSEL_SERVER__HOST": host, "VARSEL_ENVIRONMENT": "production"}), expose=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_this_machine_is_always_let_in(host: str) -> None:
    refuse_unsafe(settings.load({"VARSEL_SERVER__HOST": host}), expose=False)


@pytest.mark.parametrize(
    "name", ["VARSEL_SANDBOX__ENABLED", "VARSEL_AUTH__DEVELOPMENT_ISSUER", "VARSEL_COMPOSED__LOOPBACK_HTTP"]
)
@pytest.mark.assertion("channels", 109)
def test_production_refuses_the_sandbox_and_what_belongs_to_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VARSEL_ENVIRONMENT", "production")
    with pytest.raises(Refused, match=r"VARSEL_ENVIRONMENT.*not in production"):
        load_settings({name: "true"})


def test_production_refuses_a_mail_server_that_could_be_anybody() -> None:
    mail = SmtpProviderSettings(name="mail", host="mail.example", port=587, verify_certificate=False)
    Settings(providers=(mail,))
    with pytest.raises(ValidationError, match="verify_certificate"):
        Settings(environment="production", providers=(mail,))


def test_a_port_that_is_taken_is_named_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Refused, match=rf"port {port} .*--port"):
            listen("127.0.0.1", port)
    with listen("127.0.0.1", port) as free:
        assert free.getsockname()[1] == port


def test_every_default_setting_is_safe_to_start_with() -> None:
    refuse_unsafe(Settings(), expose=False)


def test_help_is_there_at_once_without_importing_what_the_commands_need() -> None:
    heavy = "psycopg", "pydantic", "fastapi", "uvicorn", "asyncio"
    code = f"""
import sys
from click.testing import CliRunner
before = set(sys.modules)
from varsel.cli.main import cli
result = CliRunner().invoke(cli, ["--help"])
assert result.exit_code == 0, result.output
assert "migrate" in result.output and "simulators" not in result.output, result.output
found = [name for name in {heavy!r} if name in set(sys.modules) - before]
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_says_what_each_command_says_of_itself(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command
    assert command.get_short_help_str(100) == COMMANDS[name].help


# The key of the suppression list


def test_outside_production_a_home_gets_a_key_that_stays(home: Path) -> None:
    chosen = settings.load({"VARSEL_HOME": str(home)})
    first, again = (with_suppression_key(chosen).suppression.key for _ in range(2))
    assert first
    assert first == again
    assert (home / "suppression.key").stat().st_mode & 0o077 == 0
    assert len(first.get_secret_value()) >= 40
    given = settings.load({"VARSEL_HOME": str(home), "VARSEL_SUPPRESSION__KEY": "ours"})
    assert with_suppression_key(given).suppression.key == SecretStr("ours")


def test_production_runs_only_with_a_key_of_the_settings(home: Path) -> None:
    chosen = settings.load({"VARSEL_HOME": str(home), "VARSEL_ENVIRONMENT": "production"})
    with pytest.raises(Refused, match=r"suppression\.key"):
        with_suppression_key(chosen)
    assert not (home / "suppression.key").exists()
