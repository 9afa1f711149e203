"""The development issuer's keys and `varsel token`."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from joserfc import jwt

from varsel.cli.token import token
from varsel.issuer import COMPOSED_SCOPE, CREATE_SCOPE, DevelopmentIssuer


def claims(home: Path, text: str, *, platform: bool = False) -> dict[str, object]:
    issuer = DevelopmentIssuer(home)
    keys = issuer.platform_keys if platform else issuer.bearer_keys
    return dict(jwt.decode(text, keys, ["ES256"]).claims)


def test_the_keys_are_made_once_and_are_their_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    signed = DevelopmentIssuer(home).mint("ttd", [CREATE_SCOPE], timedelta(hours=1))
    assert claims(home, signed)["urn:altinn:org"] == "ttd"
    (file,) = (home / "issuer").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_those_who_come_together_share_the_keys(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        issuers = list(pool.map(lambda _: DevelopmentIssuer(tmp_path), range(8)))
    assert len({issuer.bearer_keys.keys[0].kid for issuer in issuers}) == 1


def test_bearer_and_platform_tokens_are_signed_with_different_keys(tmp_path: Path) -> None:
    issuer = DevelopmentIssuer(tmp_path)
    assert issuer.bearer_keys.keys[0].kid != issuer.platform_keys.keys[0].kid
    assert claims(tmp_path, issuer.mint_platform("ttd", timedelta(hours=1)), platform=True)["iss"] == "ttd"


def test_no_private_part_is_published(tmp_path: Path) -> None:
    issuer = DevelopmentIssuer(tmp_path)
    for keys in (issuer.bearer_keys, issuer.platform_keys):
        assert not any(key.is_private for key in keys)


def test_the_command_prints_the_token_alone(tmp_path: Path) -> None:
    result = CliRunner().invoke(token, ["--org", "ttd", "--home", str(tmp_path)])
    assert result.exit_code == 0
    assert result.output.count("\n") == 1
    found = claims(tmp_path, result.output.strip())
    assert found["scope"] == f"{CREATE_SCOPE} {COMPOSED_SCOPE}"
    assert found["exp"] == found["iat"] + 3600  # type: ignore[operator]


def test_the_command_takes_scopes_lifetime_and_kind(tmp_path: Path) -> None:
    common = ["--org", "ttd", "--home", str(tmp_path)]
    result = CliRunner().invoke(token, [*common, "--scope", "a", "--scope", "b", "--expires", "90s"])
    found = claims(tmp_path, result.output.strip())
    assert found["scope"] == "a b"
    assert found["exp"] == found["iat"] + 90  # type: ignore[operator]
    platform = CliRunner().invoke(token, [*common, "--platform"])
    assert claims(tmp_path, platform.output.strip(), platform=True)["iss"] == "ttd"


@pytest.mark.parametrize("expires", ["0s", "1", "h", "-1h", "1.5h", "367d", "999999999d", "1h30m"])
def test_a_lifetime_that_is_none_is_named(tmp_path: Path, expires: str) -> None:
    result = CliRunner().invoke(token, ["--org", "ttd", "--home", str(tmp_path), "--expires", expires])
    assert result.exit_code == 2
    assert "--expires" in result.output
