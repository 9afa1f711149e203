"""Who may call (http-api 3), and the transport that every call shares (section 2)."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from serving import DEFAULTS, ORDERS, Client, Front, Orders, make_parts, served
from varsel.api.app import create_app
from varsel.api.frame import JsonRoute
from varsel.api.requests import Policy
from varsel.clock import SystemClock
from varsel.db import Database
from varsel.issuer import COMPOSED_SCOPE, CREATE_SCOPE, DASHBOARD_SCOPE, DevelopmentIssuer

EMAIL: Final = f"{ORDERS}/email"
MAIL: Final = {"subject": "Receipt", "body": "Thank you.", "recipients": [{"emailAddress": "kari@example.com"}]}
HOUR: Final = timedelta(hours=1)
UNKNOWN: Final = "0b9d4b0e-6a87-4f7e-a1ab-1c8a0f6a1b52"


def platform(client: Client, org: str = "ttd", expires: timedelta = HOUR) -> dict[str, str]:
    return {"PlatformAccessToken": client.issuer.mint_platform(org, expires)}


ANONYMOUS: Final[dict[str, None]] = {"Authorization": None}


@pytest.mark.parametrize(
    "credential",
    ["", "Bearer", "Bearer x", "Bearer a.b.c", "Bearer ..", "Basic dHRkOng=", "Bearer é.é.é", "Bearer " + "a." * 5_000],
)
@pytest.mark.assertion("http-api", 1)
def test_without_a_usable_credential_the_answer_is_an_empty_401(front: Front, credential: str) -> None:
    for headers in (ANONYMOUS, {"Authorization": credential.encode().decode("latin-1")}):
        reply = front.client.post(ORDERS, {}, headers=headers)
        assert (reply.status, reply.content) == (401, b"")


@pytest.mark.parametrize(
    "path", [f"/{UNKNOWN}", "?sendersReference=x", f"/{UNKNOWN}/status", f"/{UNKNOWN}/notifications/sms"]
)
def test_every_view_asks_for_a_credential_first(front: Front, path: str) -> None:
    assert front.client.get(ORDERS + path, headers=ANONYMOUS).status == 401
    assert front.client.get(ORDERS + path, scopes=["altinn:other"]).status == 403


@pytest.mark.assertion("http-api", 2)
def test_an_expired_token_is_none(front: Front) -> None:
    token = front.client.issuer.mint("ttd", [CREATE_SCOPE], timedelta(seconds=-1))
    reply = front.client.post(EMAIL, MAIL, headers={"Authorization": f"Bearer {token}"})
    assert (reply.status, reply.content) == (401, b"")


@pytest.mark.parametrize(
    "scope",
    ["", "altinn:serviceowner/notifications", CREATE_SCOPE.upper(), f"{CREATE_SCOPE}.more", COMPOSED_SCOPE],
    ids=["none", "3 other", "case", "prefix", "9 composed"],
)
@pytest.mark.assertion("http-api", 3, 9)
def test_without_the_scope_the_answer_is_an_empty_403(front: Front, scope: str) -> None:
    reply = front.client.post(EMAIL, MAIL, scopes=[scope])
    assert (reply.status, reply.content) == (403, b"")


@pytest.mark.assertion("http-api", 11)
def test_the_scope_may_be_one_of_several(front: Front) -> None:
    assert front.client.post(EMAIL, MAIL, scopes=["openid", CREATE_SCOPE, "altinn:other"]).status == 202


@pytest.mark.parametrize("org", [None, "", "  ", "a\0b"], ids=["4 user", "empty", "blank", "NUL"])
@pytest.mark.assertion("http-api", 4)
def test_a_caller_without_a_creator_is_refused_after_validation(front: Front, org: str | None) -> None:
    reply = front.client.get(f"{ORDERS}/{UNKNOWN}", org=org)
    assert (reply.status, reply.content) == (403, b"")
    assert front.client.get(f"{ORDERS}/not-a-uuid", org=org).errors
    assert front.client.post(EMAIL, MAIL, org=org).status == 403
    assert front.client.post(EMAIL, {}, org=org).errors


@pytest.mark.assertion("http-api", 5)
def test_a_platform_access_token_alone_is_enough_and_names_the_creator(front: Front) -> None:
    reply = front.client.post(EMAIL, MAIL, headers={**ANONYMOUS, **platform(front.client)})
    assert reply.status == 202
    assert front.orders.accepted[-1].creator == "ttd"


def test_a_platform_access_token_names_the_creator_also_beside_a_bearer(front: Front) -> None:
    for scopes in ([CREATE_SCOPE], ["altinn:other"]):
        reply = front.client.post(EMAIL, MAIL, org="ttd", scopes=scopes, headers=platform(front.client, "skd"))
        assert reply.status == 202
        assert front.orders.accepted[-1].creator == "skd"


@pytest.mark.parametrize(
    "forge",
    [
        lambda issuer, _: issuer.mint_platform("xyz", timedelta(seconds=-1)),
        lambda issuer, _: issuer.mint("xyz", [CREATE_SCOPE], HOUR),
        lambda issuer, _: issuer.mint_platform("xyz", HOUR)[:-10] + "AAAAAAAAAA",
        lambda _, home: DevelopmentIssuer(home).mint_platform("xyz", HOUR),
        lambda *_: "nonsense",
    ],
    ids=["expired", "a bearer token", "bad signature", "other key", "nonsense"],
)
@pytest.mark.assertion("http-api", 17)
def test_a_bad_platform_access_token_lets_nobody_in_and_names_nobody(front: Front, tmp_path: Path, forge: Any) -> None:
    before = len(front.orders.accepted)
    headers = {"PlatformAccessToken": forge(front.client.issuer, tmp_path)}
    assert front.client.post(EMAIL, MAIL, headers=headers).status == 401
    assert front.client.post(EMAIL, MAIL, headers={**headers, **ANONYMOUS}).status == 401
    assert len(front.orders.accepted) == before


def test_an_empty_platform_access_token_header_counts_for_nothing(front: Front) -> None:
    assert front.client.post(EMAIL, MAIL, headers={"PlatformAccessToken": ""}).status == 202


def test_a_bearer_is_also_read_from_the_cookie(front: Front) -> None:
    token = front.client.token("ttd", [CREATE_SCOPE])
    cookie = {"Cookie": f"a=b; AltinnStudioRuntime={token}; c=d"}
    assert front.client.post(EMAIL, MAIL, headers={**ANONYMOUS, **cookie}).status == 202
    broken = {"Cookie": "AltinnStudioRuntime=x"}
    assert front.client.post(EMAIL, MAIL, headers={**ANONYMOUS, **broken}).status == 401


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _claims(**changes: object) -> dict[str, Any]:
    now = int(time.time())
    claims = {"exp": now + 3600, "urn:altinn:org": "ttd", "scope": CREATE_SCOPE, **changes}
    return {name: value for name, value in claims.items() if value is not None}


def test_a_token_must_be_signed_by_a_key_of_ours_with_an_asymmetric_algorithm(front: Front) -> None:
    key = front.client.issuer.bearer_keys.keys[0]
    assert isinstance(key, ECKey)
    kid = {"kid": key.kid}
    public = key.as_bytes(encoding="PEM", private=False)
    unsigned = f"{_encoded({'alg': 'none', **kid})}.{_encoded(_claims())}."
    symmetric = jwt.encode({"alg": "HS256", **kid}, _claims(), OctKey.import_key("k" * 32))
    confused = jwt.encode({"alg": "HS256", **kid}, _claims(), OctKey.import_key(base64.b64encode(public)))
    foreign = jwt.encode({"alg": "ES256", **kid}, _claims(), ECKey.generate_key("P-256"))
    other_kind = jwt.encode({"alg": "RS256", **kid}, _claims(), RSAKey.generate_key(2048))
    for token in (unsigned, symmetric, confused, foreign, other_kind):
        assert front.client.post(EMAIL, MAIL, headers={"Authorization": f"Bearer {token}"}).status == 401


def _sign(issuer: DevelopmentIssuer, **claims: object) -> str:
    return jwt.encode({"alg": "ES256"}, _claims(**claims), issuer._bearer)


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 202),
        ({"exp": None}, 401),
        ({"exp": "2100-01-01"}, 401),
        ({"exp": True}, 401),
        ({"exp": 10**400}, 202),
        ({"nbf": 10**10}, 401),
        ({"iss": 12, "aud": ["anybody"]}, 202),
        ({"scope": None, "urn:altinn:scope": f"x {CREATE_SCOPE}"}, 202),
        ({"scope": [CREATE_SCOPE, "x"]}, 202),
        ({"scope": 7}, 403),
        ({"scope": f"x\t{CREATE_SCOPE}"}, 403),
        ({"urn:altinn:org": 7}, 403),
    ],
)
def test_claims_decide(front: Front, claims: dict[str, object], status: int) -> None:
    token = _sign(front.client.issuer, **claims)
    assert front.client.post(EMAIL, MAIL, headers={"Authorization": f"bearer  {token}"}).status == status


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """An API with one more route for each policy whose real routes are not v1's: /dashboard and /composed."""
    nowhere = Database("host=127.0.0.1 port=1", size=1, name="never opened")
    parts = make_parts(tmp_path_factory.mktemp("home"), SystemClock(), nowhere, Orders().register)

    def route(path: str, policy: Policy) -> JsonRoute:
        async def endpoint(request: Request) -> Response:
            return JSONResponse((await policy(request)).required_creator())

        return JsonRoute(path, endpoint, method="POST", answers={200: None})

    who = parts.authenticator
    extra = [route("/composed", who.require_composed), route("/dashboard", who.require_dashboard)]
    with served(create_app(parts, extra)) as port:
        assert parts.issuer
        yield Client(port, parts.issuer)


@pytest.mark.assertion("http-api", 7, 8)
def test_composed_email_needs_its_own_scope_and_a_bearer(policies: Client) -> None:
    assert policies.post("/composed", {}, scopes=[COMPOSED_SCOPE]).status == 200
    assert policies.post("/composed", {}).status == 403
    assert policies.post("/composed", {}, headers={**ANONYMOUS, **platform(policies)}).status == 401
    both = policies.post("/composed", {}, scopes=[COMPOSED_SCOPE], headers=platform(policies, "skd"))
    assert json.loads(both.content) == "skd"


@pytest.mark.assertion("http-api", 10)
def test_the_dashboard_needs_its_own_scope(policies: Client) -> None:
    assert policies.post("/dashboard", {}).status == 403
    assert policies.post("/dashboard", {}, scopes=[DASHBOARD_SCOPE]).status == 200


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(f"{ORDERS}/email/", id="12"),
        pytest.param("/NOTIFICATIONS/api/v1/Orders/Email", id="13"),
        pytest.param(f"{ORDERS}/email?subscription-key=x&other", id="unknown query"),
    ],
)
@pytest.mark.assertion("http-api", 12, 13)
def test_paths_are_read_in_any_case_and_with_a_slash(front: Front, path: str) -> None:
    assert front.client.post(path, MAIL).status == 202


@pytest.mark.assertion("http-api", 12)
def test_only_one_slash_is_forgiven(front: Front) -> None:
    reply = front.client.post(f"{ORDERS}/email//", MAIL)
    assert (reply.status, reply.content) == (404, b"")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        pytest.param("text/plain", 415, id="14"),
        pytest.param("application/json; charset=utf-8", 202, id="15"),
        ('APPLICATION/JSON ;charset="UTF-8"', 202),
        ("application/json; version=2", 202),
        ("application/json; charset=utf-16", 415),
        ("application/problem+json", 415),
        ("application/jsonx", 415),
        ("", 415),
        (None, 415),
    ],
)
@pytest.mark.assertion("http-api", 14, 15)
def test_bodies_are_json_and_say_so(front: Front, content_type: str | None, status: int) -> None:
    reply = front.client.post(EMAIL, MAIL, headers={"Content-Type": content_type})
    assert reply.status == status
    if status == 415:
        assert reply.json["title"] == "Unsupported Media Type"
        # before anybody is asked who they are (section 6)
        assert front.client.post(EMAIL, MAIL, headers={**ANONYMOUS, "Content-Type": content_type}).status == 415


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", f"{ORDERS}/{UNKNOWN}"), ("PUT", ORDERS), ("POST", f"{ORDERS}/x/cancel")]
)
@pytest.mark.assertion("http-api", 16)
def test_a_wrong_method_is_an_empty_405(front: Front, method: str, path: str) -> None:
    reply = front.client.call(method, path)
    assert (reply.status, reply.content) == (405, b"")


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("", "GET, POST"),
        ("/", "GET, POST"),
        ("/preview", "POST"),
        (f"/{UNKNOWN}", "GET"),
        (f"/{UNKNOWN}/cancel", "PUT"),
    ],
)
def test_a_wrong_method_hears_all_that_are_right(front: Front, path: str, methods: str) -> None:
    reply = front.client.call("OPTIONS", ORDERS + path)
    assert (reply.status, reply.headers["Allow"]) == (405, methods)


def test_an_unknown_path_is_an_empty_404(front: Front) -> None:
    for path in ("/", "/notifications", f"{ORDERS}/{UNKNOWN}/nothing"):
        reply = front.client.get(path)
        assert (reply.status, reply.content) == (404, b"")


def test_production_refuses_the_development_issuer(tmp_path: Path) -> None:
    nowhere = Database("host=127.0.0.1 port=1", size=1, name="never opened")
    settings = DEFAULTS.model_copy(update={"environment": "production"})
    with pytest.raises(ValueError, match="development issuer"):
        create_app(make_parts(tmp_path, SystemClock(), nowhere, Orders().register, settings))


def test_the_published_keys_verify_what_the_issuer_signs(front: Front) -> None:
    configuration = json.loads(front.client.get("/dev/issuer/.well-known/openid-configuration").content)
    assert configuration["jwks_uri"] == "http://localhost:5090/dev/issuer/jwks"
    (key,) = json.loads(front.client.get("/dev/issuer/jwks").content)["keys"]
    assert "d" not in key
    token = front.client.token("ttd", [CREATE_SCOPE])
    assert jwt.decode(token, ECKey.import_key(key), ["ES256"]).claims["urn:altinn:org"] == "ttd"


def test_routes_that_let_the_framework_read_answer_400_too(tmp_path: Path) -> None:
    nowhere = Database("host=127.0.0.1 port=1", size=1, name="never opened")
    parts = make_parts(tmp_path, SystemClock(), nowhere, Orders().register)
    app = create_app(parts)

    @app.get("/page")
    async def page(month: int) -> Response:
        return Response(str(month))

    assert parts.issuer
    with served(app) as port:
        assert list(Client(port, parts.issuer).get("/page?month=x").errors) == ["month"]


def test_plain_routes_can_be_mounted(tmp_path: Path) -> None:
    async def hello(_request: Request) -> Response:
        return Response("hello")

    nowhere = Database("host=127.0.0.1 port=1", size=1, name="never opened")
    parts = make_parts(tmp_path, SystemClock(), nowhere, Orders().register)
    assert parts.issuer
    with served(create_app(parts, [Route("/notifications/hello", hello)])) as port:
        assert Client(port, parts.issuer).get("/Notifications/Hello/").content == b"hello"
