"""Schemathesis with all its phases and checks against a running `varsel up --sandbox`, in a fresh home.

    python tests/schema_run.py [cases of each operation and phase]     (or: make schema)

Ends with 0 only if it found nothing. `schema_hooks.py` says what is excused, and why.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote
from urllib.request import Request, urlopen

from varsel.issuer import COMPOSED_SCOPE, CREATE_SCOPE, DASHBOARD_SCOPE, REGISTRY_SCOPE, SUPPORT_SCOPE

ROOT: Final = Path(__file__).parents[1]
VARSEL: Final = (sys.executable, "-P", "-m", "varsel")
SCOPES: Final = (CREATE_SCOPE, COMPOSED_SCOPE, DASHBOARD_SCOPE, SUPPORT_SCOPE, REGISTRY_SCOPE)
LEADER, SELF_REGISTERED = 101, 202  # users of the sandbox: one leads an organisation, one has no identity number
VERIFIED: Final = {"Email": "leader@example.com", "Sms": "+4799999777"}  # by the leader; `schema.toml` names them too
CODES: Final = "/profile/api/v1/users/current/verification"
EXAMPLES: Final = 240  # of each operation and random phase: 20 000 cases in all, and more
STORIES: Final = 20  # rounds of calls that follow the document's links
QUICK: Final = {"VARSEL_FEED__MAX_WAIT": "PT1S"}  # else each reader of an empty feed waits for long


@dataclass(frozen=True)
class Service:
    """`creator`: a token to do all that creators, support and directories may; the others are users'."""

    url: str
    creator: str
    leader: str
    self_registered: str


@dataclass(frozen=True)
class Finding:
    """What a run came to: `cases` that were generated, and what schemathesis printed."""

    cases: int
    clean: bool
    text: str


@contextmanager
def sandbox() -> Iterator[Service]:
    """One of its own, on free ports."""
    home = Path(tempfile.mkdtemp(prefix="varsel-schema-", dir="/tmp"))  # the database's own user goes through
    home.chmod(0o755)
    environment = {**{name: value for name, value in os.environ.items() if not name.startswith("VARSEL_")}, **QUICK}
    command = [*VARSEL, "up", "--sandbox", "--port", "0", "--home", str(home)]
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment) as up,
    ):
        assert up.stdout
        patience = threading.Timer(120, up.terminate)
        patience.start()
        try:
            ready = next((line for line in up.stdout if "Varsel is ready" in line), "")
            found = re.search(r"http://localhost:\d+", ready)
            assert found, (home / "log").read_text()[-2000:]
            patience.cancel()
            subprocess.run(
                [*VARSEL, "import", "personas", "--home", str(home)], check=True, stdout=log, env=environment
            )
            scopes = [word for scope in SCOPES for word in ("--scope", scope)]
            service = Service(
                found[0],
                _token(home, environment, "--org", "ttd", *scopes),
                _token(home, environment, "--user", str(LEADER)),
                _token(home, environment, "--user", str(SELF_REGISTERED)),
            )
            for kind, address in VERIFIED.items():
                _verify(service, kind, address)
            yield service
        finally:
            patience.cancel()
            up.terminate()
            up.wait(20)
    shutil.rmtree(home)


def _token(home: Path, environment: dict[str, str], *whose: str) -> str:
    command = [*VARSEL, "token", "--home", str(home), "--expires", "12h", *whose]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def _verify(service: Service, kind: str, address: str) -> None:
    """Only addresses that users have shown to be theirs can be registered."""
    body = {"value": address, "type": kind}
    _post(service, "send", body)
    for _ in range(100):
        with urlopen(f"{service.url}/sandbox/messages?to={quote(address)}") as answer:  # noqa: S310 - a URL of our own
            if found := re.search(rb"\b[0-9]{6}\b", answer.read()):
                return _post(service, "verify", {**body, "verificationCode": found[0].decode()})
        time.sleep(0.1)
    raise AssertionError("the message with the code did not come")


def _post(service: Service, name: str, body: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {service.leader}", "Content-Type": "application/json"}
    request = Request(f"{service.url}{CODES}/{name}", json.dumps(body).encode(), headers)  # noqa: S310
    with urlopen(request, timeout=20) as answer:  # noqa: S310
        assert answer.status == 204


def run(service: Service, examples: int, *options: str, timeout: float | None = None) -> Finding:
    """`examples`: the most cases of each operation, in each phase that is random."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("st")),
                "--config-file", str(ROOT / "tests" / "schema.toml"), "--no-color", "run",
                f"{service.url}/swagger/v1/swagger.json", "--url", service.url,
                "--checks", "all", "--max-examples", str(examples), "--continue-on-failure",
                "--generation-database", "none", "--suppress-health-check", "all",
                "--generation-with-security-parameters", "false",  # else half of the calls end as 401
                *options,
            ],
            cwd=folder, check=False, text=True, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={
                **os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(ROOT / "tests"),
                "CREATOR_TOKEN": service.creator, "USER_TOKEN": service.leader,
                "OTHER_USER_TOKEN": service.self_registered,
            },
        )  # fmt: skip
    counted = re.search(r"(\d+) generated", done.stdout)
    return Finding(int(counted[1]) if counted else 0, done.returncode == 0, done.stdout)


def main(words: Sequence[str]) -> int:
    """A round of stories is over once the service answers the same call differently, so there are several."""
    examples = int(words[0]) if words else EXAMPLES
    cases, unclean = 0, 0
    with sandbox() as service:
        for options in [(), *[("--phases", "stateful")] * STORIES]:
            finding = run(service, examples, *options)
            if not (options and finding.clean):
                print(finding.text, flush=True)
            cases, unclean = cases + finding.cases, unclean + (not finding.clean)
    print(f"{cases} cases, {'see above' if unclean else 'nothing found'}")
    return 1 if unclean else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
