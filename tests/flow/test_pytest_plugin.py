"""The pytest plug-in, as an integrator meets it: in a test run of their own."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Final

import pytest

from varsel.recipients.personas import DEMO_RESOURCE, ORGANISATIONS, PERSONS
from varsel.simulators.link_script import SCRIPTS as LINK_SCRIPTS
from varsel.simulators.smtp_script import script_for, script_named
from varsel.testing import magic

ROOT: Final = Path(__file__).parents[2]
# a sandbox that fails to start takes two minutes to say so; a slow machine is given five
WITHIN: Final = 300


def run(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """pytest in a folder, with our own configuration and its settings out of sight."""
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VARSEL_", "PYTEST_"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder, env={**clean, **variables}, capture_output=True, text=True, check=False, timeout=WITHIN,
    )  # fmt: skip


def test_the_tests_of_the_page_pass(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "testing.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "test_letters.py").write_text(code)
    (tmp_path / "conftest.py").write_text(
        """
from pathlib import Path
import pytest

@pytest.fixture(scope="session")
def varsel_sandbox_settings():
    return {"VARSEL_SENDERS__DEFAULT_SMS": "Fjordvik"}

@pytest.fixture(scope="session", autouse=True)
def home(varsel_sandbox):
    Path("home").write_text(str(varsel_sandbox.home))
"""
    )
    (tmp_path / "test_more.py").write_text(
        """
from datetime import timedelta
import pytest
from varsel.client import InstantSms
from varsel.testing import NoMessage, SandboxError, magic

def test_settings_are_ours_and_the_inbox_is_empty(varsel_client, varsel_sandbox):
    assert varsel_sandbox.messages() == []
    varsel_client.send_now(InstantSms(phone_number=magic.ARRIVING_MOBILE, text="Hello there"))
    (message,) = varsel_sandbox.messages(containing="hello")
    assert (message.to, message.sender, message.channel) == (magic.ARRIVING_MOBILE, "Fjordvik", "sms")

def test_creators_are_apart(varsel_sandbox):
    assert list(varsel_sandbox.client("digdir").feed()) == []

def test_time_moves(varsel_sandbox):
    before = varsel_sandbox.now()
    assert varsel_sandbox.advance(timedelta(hours=36)) - before >= timedelta(hours=36)

def test_what_does_not_come_or_cannot_be_is_told(varsel_sandbox):
    with pytest.raises(NoMessage, match="nobody@example.com"):
        varsel_sandbox.wait_for_message(to="nobody@example.com", within=timedelta(0))
    with pytest.raises(SandboxError, match="ISO 8601"):
        varsel_sandbox.advance("tomorrow")
    with pytest.raises(SandboxError, match="varsel import"):
        varsel_sandbox.run("import", "nothing")
"""
    )
    # what a developer has set for a service of theirs must not reach the sandbox
    done = run(tmp_path, VARSEL_DATABASE_URL="postgresql://127.0.0.1:1/production", VARSEL_ENVIRONMENT="production")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "7 passed" in done.stdout
    assert not Path((tmp_path / "home").read_text()).exists()


def test_a_sandbox_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        """
import pytest

@pytest.fixture(scope="session")
def varsel_sandbox_settings():
    return {"VARSEL_SERVER__COLOUR": "blue"}

def test_one(varsel_sandbox):
    pass
"""
    )
    done = run(tmp_path)
    assert done.returncode == 1
    assert "VARSEL_SERVER__COLOUR" in done.stdout


def test_a_run_that_wants_no_sandbox_notices_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        "import sys\n\ndef test_one():\n"
        "    found = {n for n in sys.modules if n.partition('.')[0] == 'varsel'}\n"
        "    assert found == {'varsel', 'varsel.pytest_plugin'}, found\n"
    )
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_the_plug_in_is_installed_under_its_name() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["pytest11"]
    assert wanted == {"varsel": "varsel.pytest_plugin"}
    (found,) = entry_points(group="pytest11", name="varsel")
    assert found.value == wanted["varsel"], "install anew: make setup"


def test_magic_is_what_the_sandbox_knows() -> None:
    people = {
        "PERSON": "P1",
        "RESERVED_PERSON": "P2",
        "PERSON_WITH_EMAIL_ONLY": "P3",
        "PERSON_WITH_MOBILE_ONLY": "P4",
        "PERSON_WITHOUT_ADDRESS": "P5",
        "PERSON_WITH_STALE_EMAIL": "P6",
        "PERSON_WITH_STALE_ADDRESSES": "P7",
        "DELETED_PERSON": "P9",
        "UNKNOWN_PERSON": "P10",
    }
    organisations = {"ORGANISATION": "O1", "ORGANISATION_WITH_USERS_ONLY": "O5", "UNKNOWN_ORGANISATION": "O8"}
    expected = {name: PERSONS[key] for name, key in people.items()}
    expected |= {name: ORGANISATIONS[key] for name, key in organisations.items()}
    given = {name: value for name, value in vars(magic).items() if name.isupper()}
    assert {
        name: given[name] for name in given if name.endswith(("PERSON", "ORGANISATION"))
    }.items() <= expected.items()
    assert {name: given[name] for name in expected} == expected
    assert magic.RESOURCE.endswith(f":{DEMO_RESOURCE}")
    numbers = {value[-3:] for name, value in given.items() if name.endswith("_MOBILE") and "500" not in value}
    assert numbers - {magic.PERSON_MOBILE[-3:]} <= LINK_SCRIPTS.keys()
    emails = {value for name, value in given.items() if name.endswith("_EMAIL") and "@" in value}
    for address in emails - {magic.PERSON_EMAIL}:
        assert script_for(address).name == script_named(address.partition("@")[0]).name  # type: ignore[union-attr]  # there is one


@pytest.mark.parametrize("name", ["varsel_sandbox", "varsel_client", "varsel_sandbox_settings"])
def test_fixtures_explain_themselves(name: str, pytestconfig: pytest.Config) -> None:
    plugin = pytestconfig.pluginmanager.get_plugin("varsel")
    assert plugin
    assert getattr(plugin, name).__doc__
