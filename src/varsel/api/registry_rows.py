"""The upsert API of the registers' local copies: few rows at a time, with the columns of files (registries 7.5)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, create_model
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from varsel.api import schemas
from varsel.api.bodies import Body, Findings
from varsel.api.frame import Endpoint, JsonRoute
from varsel.api.parts import ApiParts
from varsel.api.problems import Invalid, generic
from varsel.api.row_shapes import deleted, upserted
from varsel.api.schemas import Problem
from varsel.api.shapes import Shape, Told
from varsel.domain.errors import Rejected
from varsel.domain.identifiers import Level
from varsel.issuer import REGISTRY_SCOPE
from varsel.log import Log
from varsel.recipients.load.batch import Batch, Changed, Wrong, read_batch, write_batch
from varsel.recipients.load.rows import Kind
from varsel.recipients.load.values import Rules

log = Log(__name__)

PATH: Final = "/registry/api/v1/rows"
MAX_ROWS: Final = 1_000


class RowsBody(Body):
    """`upsert`: whole rows; `delete`: rows, of which the key is enough. Names are those of the columns of files."""

    as_sent: ClassVar[frozenset[str]] = frozenset({"upsert", "delete"})

    upsert: list[dict[str, Any]] = Field(default=[])
    delete: list[dict[str, Any]] = Field(default=[])
    assume_fresh: bool = False

    async def check(self, now: datetime, findings: Findings) -> None:  # noqa: ARG002 - rows are checked by their kind
        if len(self.upsert) + len(self.delete) > MAX_ROWS:
            findings.add("Upsert", f"There may be {MAX_ROWS} rows at most.")


class RowsAnswer(schemas.Answer):
    inserted: int
    updated: int
    unchanged: int
    deleted: int
    of_others: int

    @classmethod
    def of(cls, changed: Changed) -> "RowsAnswer":
        return cls(
            inserted=changed.inserted,
            updated=changed.updated,
            unchanged=changed.unchanged,
            deleted=changed.deleted,
            of_others=changed.of_others,
        )


def row_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    routes = _RowRoutes(parts)
    return [
        JsonRoute(
            f"{PATH}/{kind}",
            routes.changing(kind),
            method="POST",
            body=body_of(kind),
            answers={200: RowsAnswer, 409: Problem},
            scope=REGISTRY_SCOPE,
            tags=["Registers"],
        )
        for kind in Kind
    ]


@cache
def body_of(kind: Kind) -> type[RowsBody]:
    """The same body, of which the document says what its rows hold."""

    def rows(shape: Shape) -> Any:
        told = Told({"items": shape, "maxItems": MAX_ROWS})
        return Annotated[list[dict[str, Any]], told], Field(default=[])

    name = "".join(word.title() for word in kind.split("_"))
    return create_model(
        f"{name}RowsBody",
        __base__=RowsBody,
        __doc__=RowsBody.__doc__,
        upsert=rows(upserted(kind)),
        delete=rows(deleted(kind)),
    )


class _RowRoutes:
    def __init__(self, parts: ApiParts) -> None:
        self._parts = parts

    def changing(self, kind: Kind) -> Endpoint:
        """The endpoint of the rows of one kind."""

        async def change(request: Request) -> Response:
            return await self._change(kind, request)

        change.__name__ = f"change_{kind}"
        change.__doc__ = f"Insert, update and delete {kind.replace('_', ' ')}: all that the request names, or none."
        return change

    async def _change(self, kind: Kind, request: Request) -> Response:
        parts = self._parts
        async with parts.intake.take(request, parts.authenticator.require_registry, RowsBody) as taken:
            body = taken.body
            rules = Rules(
                taken.now,
                production=parts.settings.environment == "production",
                assume_fresh=body.assume_fresh,
                identifiers=parts.intake.identifiers.at(Level.STRICT),
            )
            batch = read_batch(kind, body.upsert, body.delete, rules)
            if errors := _errors(batch):
                raise Invalid(errors)
            try:
                changed = await write_batch(parts.database, batch, now=taken.now)
            except Rejected as e:
                raise generic(409, detail=str(e)) from None
        log.info(
            "registry rows changed",
            kind=kind,
            actor=taken.caller.actor,
            inserted=changed.inserted,
            updated=changed.updated,
            deleted=changed.deleted,
        )
        return RowsAnswer.of(changed).response()


def _errors(batch: Batch) -> dict[str, list[str]]:
    return {**_paths("Upsert", batch.wrong_upserts), **_paths("Delete", batch.wrong_deletes)}


def _paths(name: str, wrongs: Sequence[Wrong]) -> dict[str, list[str]]:
    return {f"{name}[{w.place}].{w.column}".removesuffix("."): [SENTENCES[w.code]] for w in wrongs}


SENTENCES: Final[Mapping[str, str]] = {
    "address-kind": "The value must be email or sms.",
    "boolean": "The value must be true or false.",
    "both-names": "Only one of username and idporten_email may be given.",
    "characters": "The value holds characters that are not text.",
    "email": "The value is not a valid email address.",
    "ends-before-it-begins": "The value must lie after valid_from.",
    "identity-number": "The value is no identifier of a person that is taken here.",
    "json-type": "The value must be a text, or what its column is: a number, true or false, a list of texts.",
    "language": "The value must be a language of two letters.",
    "missing": "A value is required.",
    "mobile": "The value is not a valid mobile number.",
    "no-address": "An email address or a phone number is required.",
    "number": "The value must be a whole number from 1 to 2147483647.",
    "organisation-number": "The value is no identifier of an organisation that is taken here.",
    "own-parent": "An organisation cannot be its own main unit.",
    "real-identity": "Real identity numbers are taken in production only.",
    "resource": "The value must be a resource id: four or more of a to z, digits, _ and -.",
    "time": "The value must be a time like 2030-01-31T12:00:00Z.",
    "too-long": "The value is too long.",
    "unknown-column": "There is a name that this kind of row does not have.",
    "user-kind": "The value must be person or self-identified.",
    "uuid": "The value must be a UUID.",
    "word": "The value must be one word.",
}
"""By the codes of what is wrong with a row."""
