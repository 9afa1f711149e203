"""The examples of the documentation are run against a real `varsel up --sandbox`, page by page, and compared.

Blocks marked `sh run` run in one shell for each page; a block `json` behind one of them is what it must print, but for
ids, instants and the port. Blocks marked `python run`, which follow one another, run there as one program.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (
    *("README.md", "docs/api.md", "docs/chains.md", "docs/instant.md", "docs/previews.md", "docs/webhooks.md"),
    *("docs/client.md", "docs/cli.md", "docs/cookbook.md", "docs/from-altinn.md", "docs/from-govuk-notify.md"),
    *("docs/sandbox.md", "docs/quick-start.md", "docs/first-notification.md"),  # they move the clock
)
PORT: Final = "localhost:5090"
BLOCK: Final = re.compile(
    r"^```(?P<language>sh|python) run\n(?P<code>.*?)^```\n(?:\s*^```json\n(?P<answer>.*?)^```$)?", re.M | re.S
)
MARK: Final = "\x1e"
VARIABLE: Final = (
    (re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-00"), "TRACE"),
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"), "INSTANT"),
)

Service = tuple[str, Path]
"""Host and port of the API, and its home."""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    home = Path(tempfile.mkdtemp(prefix="varsel-docs-", dir="/tmp"))
    home.chmod(0o755)  # the database's own user goes through
    command = [sys.executable, "-P", "-m", "varsel", "up", "--sandbox", "--port", "0", "--home", str(home)]
    with (
        (home / "log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as up,
    ):
        assert up.stdout
        try:
            ready = next((line for line in up.stdout if "Varsel is ready" in line), "")
            assert ready, (home / "log").read_text()[-2000:]
            found = re.search(r"http://(localhost:\d+)", ready)
            assert found
            yield found[1], home
        finally:
            up.terminate()
            up.wait(15)
    shutil.rmtree(home)


def run(page: str, service: Service, folder: Path) -> list[tuple[str, str | None]]:
    """What each example of a page printed, and what the page says."""
    host, home = service
    blocks = list(BLOCK.finditer((ROOT / page).read_text(encoding="utf-8")))
    assert blocks, "no examples"
    script = "".join(parts(blocks)).replace(PORT, host)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VARSEL_HOME": str(home),
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    printed = done.stdout.split(MARK)
    return [(out.replace(host, PORT), block["answer"]) for out, block in zip(printed, blocks, strict=True)]


def parts(blocks: list[re.Match[str]]) -> Iterator[str]:
    """The script, with a mark between what two blocks print."""
    before = None
    for block, after in zip_longest(blocks, blocks[1:]):
        python, goes_on = block["language"] == "python", after and after["language"] == block["language"]
        if python and before != "python":
            yield "python -W error - <<'END OF PYTHON'\n"
        yield block["code"]
        if python:
            yield f"print('{MARK}', end='', flush=True)\n" if goes_on else "END OF PYTHON\n"
        if after and not (python and goes_on):
            yield f"printf '{MARK}'\n"
        before = block["language"]


def comparable(text: str) -> Any:
    for pattern, name in VARIABLE:
        text = pattern.sub(name, text)
    return json.loads(text)


def test_every_page_does_what_it_says(service: Service, tmp_path: Path) -> None:
    printed: dict[str, str] = {}
    for page in PAGES:
        examples = run(page, service, tmp_path)
        for shown, answer in examples:
            if answer is not None:
                assert comparable(shown) == comparable(answer), page
        printed[page] = "\n".join(shown for shown, _ in examples)
    assert '"subject":"You have a letter"' in printed["README.md"]
    assert re.search(r'"succeeded":\w+,"recipient":\{"emailAddress":"kari.nordmann@example.com"}', printed["README.md"])
    assert "rolig.fjord@example.com Email_Delivered True" in printed["docs/client.md"]
    assert "Hello ROLIG FJORD" in printed["docs/cli.md"]
    assert "Order_Completed" in printed["docs/cli.md"]
    assert "send a letter on paper" in printed["docs/cookbook.md"]
    assert "Email_Delivered" in printed["docs/from-govuk-notify.md"]
    first = printed["docs/first-notification.md"]
    assert "1 of 1 reached: 1 by email, 0 by SMS." in first
    assert first.count("Delivered") >= 2
    assert first.count("not reached") == 2
    assert '"text":"Your letter is unread."' in first
    for promised in ("Delivered", "Failed_RecipientReserved", "Failed_RecipientNotIdentified"):
        assert f'"status":"{promised}"' in printed["docs/quick-start.md"]
    assert '"text":"It is tomorrow."' in printed["docs/quick-start.md"]
