"""All pages under /ui: which areas there are, and their routes."""

from typing import Final

from starlette.routing import BaseRoute

from varsel.settings import Settings
from varsel.ui.pages import Area
from varsel.ui.parts import UiParts
from varsel.ui.registries import Registries

_AREAS: Final = (Area("operations", "/ui/ops/registries", "operator"),)
_SANDBOX: Final = Area("sandbox", "/sandbox", "viewer")


def areas(settings: Settings) -> tuple[Area, ...]:
    """The header's menu, from left to right."""
    return (*_AREAS, _SANDBOX) if settings.sandbox.enabled else _AREAS


def site_routes(parts: UiParts) -> list[BaseRoute]:
    synthetic_only = parts.settings.environment != "production"
    return [
        *parts.pages.routes(),
        *parts.access.routes(),
        *Registries(parts, synthetic_only=synthetic_only).routes(),
    ]
