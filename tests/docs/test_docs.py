"""The documentation names what is there, and all that must be named: files, settings, commands, routes, alarms."""

import ast
import json
import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import click
import pytest
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined
from starlette.routing import Route

from serving import ORDERS, Orders, make_parts
from site_parts import ui_parts
from varsel.api.app import create_app
from varsel.api.event_grid import event_grid_routes
from varsel.api.provider_reports import provider_report_routes
from varsel.api.report_intake import Limits
from varsel.api.reports import report_routes
from varsel.cli.main import COMMANDS, cli
from varsel.clock import SystemClock
from varsel.db import Database, fetch
from varsel.domain.notification import FATES, NEXT, State
from varsel.domain.order import OrderState
from varsel.recipients.load.rows import COLUMNS
from varsel.recipients.personas import ORGANISATIONS, PERSONS
from varsel.settings import (
    PROVIDER_TYPES,
    CreatorContentSettings,
    LinkProviderSettings,
    ProviderSettings,
    SandboxSettings,
    SchemeSettings,
    Settings,
    SmtpProviderSettings,
    provider_module,
)
from varsel.simulators.link_script import SCRIPTS as LINK_SCRIPTS
from varsel.simulators.smtp_script import SCRIPTS as SMTP_SCRIPTS
from varsel.timeshift.advance import ClockControl
from varsel.ui.sandbox import sandbox_routes
from varsel.ui.site import site_routes

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src" / "varsel"
DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
INSTALLED: Final = {"tests/node/node_modules"}  # by `make test`, where there is npm
FENCED: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Of headings, as they are made from their text."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def backticked(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", text)


# Files and names


@by_page
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@by_page
def test_every_source_file_that_is_named_exists(page: Path) -> None:
    for name in backticked(prose(page)):
        if re.fullmatch(r"[\w./-]+\.(?:py|sql)", name):
            kept = (ROOT / name).is_file() or (SOURCE / name).is_file()
            assert kept or ("/" not in name and any(SOURCE.rglob(name))), name
        elif re.fullmatch(r"(?:src|tests|docs)/[\w./-]*", name) and name not in INSTALLED:
            assert (ROOT / name).exists(), name


def test_every_function_that_the_road_names_stands_in_a_file_that_it_names() -> None:
    for page in (DOCS / "flow.md", DOCS / "security.md"):
        names = backticked(prose(page))
        files = [folder / name for name in names for folder in (ROOT, SOURCE) if (folder / name).is_file()]
        defined = {
            node.name
            for file in files
            if file.suffix == ".py"
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        called = {name.removesuffix("()") for name in names if re.fullmatch(r"\w+\(\)", name)}
        assert called, page
        assert called <= defined | {"_make_partitions"}, called - defined


def test_the_page_of_states_is_what_the_tables_say() -> None:
    generator = runpy.run_path(str(DOCS / "generate.py"))
    page = text_of("docs/states.md")
    assert page == generator["document"](), "run: make docs"
    assert all(f"`{state}`" in page for state in (*State, *OrderState))
    assert all(f"{before} --> {after}\n" in page for before, following in NEXT.items() for after in following)
    assert all(f"`{fate}`" in page for fate in FATES)


def test_the_pages_say_of_each_setting_what_the_list_says() -> None:
    generator = runpy.run_path(str(DOCS / "generate.py"))
    assert generator["MEANINGS"].read_text(encoding="utf-8") == generator["meanings"](), "run: make docs"


def test_the_api_reference_is_what_the_service_publishes() -> None:
    reference = runpy.run_path(str(DOCS / "reference.py"))
    assert text_of("docs/api-reference.md") == reference["document"](), "run: make docs"


def test_no_page_speaks_of_makers_machines_or_indexes() -> None:
    forbidden = re.compile(r"\b(?:pypi|npmjs|crates)\b|/work/|/root/|\bTODO\b|\bFIXME\b", re.IGNORECASE)
    assert [page for page in PAGES if forbidden.search(page.read_text(encoding="utf-8"))] == []


# Settings


def settings_of(model: type[BaseModel], prefix: str, defaults: BaseModel | None = None) -> Iterator[tuple[str, str]]:
    """Each setting with its default, as the tables show them."""
    for name, field in model.model_fields.items():
        default = getattr(defaults, name) if defaults else field.default
        if isinstance(default, BaseModel):
            yield from settings_of(type(default), f"{prefix}{name}.", default)
        elif name != "type":
            yield prefix + name, shown(default)


def own_settings_of(type_: str) -> Iterator[tuple[str, str]]:
    """Of a type of provider, beside those that every provider has."""
    settings = import_module(provider_module(type_)).PROVIDER.settings
    common = {f"{type_}.{name}" for name in ProviderSettings.model_fields}
    return (setting for setting in settings_of(settings, f"{type_}.") if setting[0] not in common)


def shown(default: object) -> str:
    match default:
        case None:
            return "none"
        case bool():
            return f"`{str(default).lower()}`"
        case timedelta():
            return f"`{TypeAdapter(timedelta).dump_python(default, mode='json')}`"
        case tuple():
            return f"`{json.dumps(default)}`"
        case _ if default is PydanticUndefined:
            return "required"
        case _:
            return f"`{default}`"


def test_the_list_of_settings_is_the_settings() -> None:
    section = text_of("docs/operations.md").partition("\n## Settings\n")[2]
    listed = re.findall(r"^\| `([a-z_.]+)` \| ([^|]+) \| [^|]*\|$", section, re.MULTILINE)
    expected = [
        *settings_of(Settings, ""),
        *settings_of(ProviderSettings, "provider."),
        *(setting for type_ in PROVIDER_TYPES for setting in own_settings_of(type_)),
        *settings_of(SchemeSettings, "scheme."),
        *settings_of(CreatorContentSettings, "creator_content."),
    ]
    assert [(name, default.strip()) for name, default in listed] == expected


def test_the_example_of_a_settings_file_is_accepted() -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```", text_of("docs/operations.md"), re.MULTILINE | re.DOTALL)
    settings = Settings.model_validate(tomllib.loads(example))
    assert [type(provider) for provider in settings.providers] == [SmtpProviderSettings, LinkProviderSettings]
    assert settings.bounces.keys


def test_every_example_of_a_provider_is_accepted() -> None:
    examples = re.findall(r"^```toml\n(.*?)^```", text_of("docs/providers.md"), re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        assert Settings.model_validate(tomllib.loads(example)).providers


# Commands


def commands() -> Iterator[list[str]]:
    """Every `varsel …` in code and prose, as words."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"^```sh.*?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()] + backticked(FENCED.sub("", text))
        for line in lines:
            for found in re.finditer(r"(?:^|[\s(])varsel ((?:[a-z]|--)[^)#;&|\"]*)", line):
                yield shlex.split(found[1])


def test_every_command_on_a_page_exists_with_its_options() -> None:
    context = click.Context(cli)
    found = [words for words in commands() if words[0] in COMMANDS or not words[0].startswith("-")]
    assert len(found) > 20
    for name, *words in found:
        command = cli.get_command(context, name.rstrip(","))
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            name = words.pop(0)  # noqa: PLW2901 - what is missing is named
            command = command.get_command(context, name)
        assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= known, (name, words)


def test_every_command_is_explained() -> None:
    listed = backticked(text_of("docs/operations.md").partition("\n## Commands\n")[2].partition("\n## ")[0])
    visible = {f"varsel {name}" for name, command in COMMANDS.items() if not command.hidden}
    assert visible <= set(listed)


def test_every_make_target_on_a_page_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of("Makefile"), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z]+)|^make ([a-z]+)", page.read_text(), re.M)}
    assert {a or b for a, b in named} <= targets


# Routes


def test_every_route_is_on_a_page(app_routes: list[Route]) -> None:
    pages = "\n".join(text_of(f"docs/{name}.md") for name in ("api", "profile", "registries", "sandbox", "operations"))
    for route in app_routes:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        for method in (route.methods or set()) - {"HEAD"}:
            assert re.search(rf"{method} {re.escape(path)}(?![\w/{{])", pages), f"{method} {path}"


@pytest.fixture
def app_routes(database: Database, home: Path) -> list[Route]:
    """Every route that a process can have: with gateway, sandbox and local issuer."""
    clock = SystemClock()
    parts = make_parts(home, clock, database, Orders().register)
    reports = [*report_routes((), _keep), *provider_report_routes({}, _keep, Limits(), parts.base)]
    reports += event_grid_routes({}, _keep, Limits(), parts.base)
    site = ui_parts(database, clock, Settings(sandbox=SandboxSettings(enabled=True)))
    extra = [*reports, *site_routes(site), *sandbox_routes(database, ClockControl(database, clock), site.pages)]
    routes = create_app(parts, extra).routes
    assert any(isinstance(route, Route) and route.path == ORDERS for route in routes)
    return [route for route in routes if isinstance(route, Route)]


async def _keep(_reports: object) -> None: ...


# Alarms


def alarms() -> dict[str, set[str]]:
    """Every event of level warning or error in the source, with its levels."""
    found: dict[str, set[str]] = {}
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name("log"), attr="warning" | "error" as level),
                    args=[ast.Constant(str(event)), *_],
                ):
                    found.setdefault(event, set()).add(level)
                case ast.Call(func=ast.Attribute(value=ast.Name("log"), attr="warning" | "error")):
                    raise AssertionError(f"{file}:{node.lineno}: an event's name is a constant")
    return found


def test_operations_say_what_to_do_for_each_alarm() -> None:
    section = text_of("docs/operations.md").partition("\n## Alarms\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| ([a-z, ]+) \| [^|]+ \| [^|]+ \|$", section, re.MULTILINE)
    assert {event: set(levels.split(", ")) for event, levels in rows} == alarms()
    assert [event for event, _ in rows] == sorted(event for event, _ in rows)


async def test_the_queries_that_operators_are_given_run(database: Database) -> None:
    blocks = re.findall(r"^```sql\n(.*?)^```", text_of("docs/operations.md"), re.MULTILINE | re.DOTALL)
    statements = [statement for block in blocks for statement in block.split(";") if statement.strip()]
    assert len(statements) >= 8
    async with database.reading() as conn:
        for statement in statements:
            await fetch(conn, statement, {}, _row)


def _row(*columns: Any) -> tuple[Any, ...]:
    return columns


# Registers and sandbox


def test_the_columns_of_files_are_those_that_are_read() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|(.*) \|$", text_of("docs/registries.md"), re.MULTILINE)
    names = {kind: tuple(frozenset(re.findall(r"(?:^ ?|, )`(\w+)`", cell)) for cell in cells) for kind, *cells in rows}
    assert names == {kind.value: (columns.required, columns.optional) for kind, columns in COLUMNS.items()}


def test_every_magic_address_number_and_persona_is_on_the_page() -> None:
    names = set(backticked(text_of("docs/sandbox.md")))
    assert names >= SMTP_SCRIPTS.keys()
    assert names >= LINK_SCRIPTS.keys()
    assert names >= {*PERSONS.values(), *ORGANISATIONS.values()}
    assert {name for name in names if re.fullmatch(r"[1-4]\d\d", name)} == LINK_SCRIPTS.keys()
