"""Schemathesis with all its phases and checks against a running `varsel up --sandbox`, in a fresh home.

    python tests/schema_run.py [cases of each operation and phase]     (or: make schema)

Ends with 0 only if it found nothing. `schema_hooks.py` says what is excused, and why.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from varsel.issuer import COMPOSED_SCOPE, CREATE_SCOPE, DASHBOARD_SCOPE

ROOT: Final = Path(__file__).parents[1]
VARSEL: Final = (sys.executable, "-P", "-m", "varsel")
SCOPES: Final = (CREATE_SCOPE, COMPOSED_SCOPE, DASHBOARD_SCOPE)
QUICK: Final = {"VARSEL_FEED__MAX_WAIT": "PT1S"}  # else each reader of an empty feed waits for long


@dataclass(frozen=True)
class Service:
    url: str
    token: str


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
        try:
            ready = next((line for line in up.stdout if "Varsel is ready" in line), "")
            found = re.search(r"http://localhost:\d+", ready)
            assert found, (home / "log").read_text()[-2000:]
            yield Service(found[0], _token(home, environment))
        finally:
            up.terminate()
            up.wait(20)
    shutil.rmtree(home)


def _token(home: Path, environment: dict[str, str]) -> str:
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    command = [*VARSEL, "token", "--org", "ttd", "--home", str(home), "--expires", "12h", *scopes]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


def run(service: Service, examples: int, *options: str, timeout: float | None = None) -> Finding:
    """`examples`: the most cases of each operation, in each phase that is random."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                str(Path(sys.executable).with_name("st")), "--no-color", "run",
                f"{service.url}/swagger/v1/swagger.json",
                "--url", service.url, "--header", f"Authorization: Bearer {service.token}",
                "--checks", "all", "--max-examples", str(examples), "--continue-on-failure",
                "--generation-database", "none", "--suppress-health-check", "all",
                "--generation-with-security-parameters", "false",  # else half of the calls end as 401
                *options,
            ],
            cwd=folder, check=False, text=True, timeout=timeout,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(ROOT / "tests")},
        )  # fmt: skip
    counted = re.search(r"(\d+) generated", done.stdout)
    return Finding(int(counted[1]) if counted else 0, done.returncode == 0, done.stdout)


def main(words: Sequence[str]) -> int:
    with sandbox() as service:
        finding = run(service, int(words[0]) if words else 800)
    print(finding.text)
    print(f"{finding.cases} cases, {'nothing found' if finding.clean else 'see above'}")
    return 0 if finding.clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
