"""The demo, as a newcomer runs it: every order meets its expected fate, and nothing is left behind."""

import subprocess
import sys


def test_every_order_of_the_demo_meets_its_expected_fate() -> None:
    command = [sys.executable, "-m", "varsel", "demo", "--exit", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "13 of 13 orders met their expected fate." in done.stdout
