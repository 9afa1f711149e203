"""The few pages of the API: templates that are compiled once in a process, as nothing in them depends on settings."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template


@cache
def template(name: str) -> Template:
    return _environment().get_template(name)


@cache
def _environment() -> Environment:
    return Environment(loader=PackageLoader("varsel.api"), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
