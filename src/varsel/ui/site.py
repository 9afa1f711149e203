"""All pages under /ui: which areas there are, and their routes."""

from typing import Final

from starlette.routing import BaseRoute

from varsel.settings import Settings
from varsel.ui.audit import Audit
from varsel.ui.bulk import BulkPages
from varsel.ui.deadletters import DeadLetters
from varsel.ui.lookup import Lookup
from varsel.ui.magic import Magic
from varsel.ui.order import OrderPage
from varsel.ui.orders import Orders
from varsel.ui.overview import Overview
from varsel.ui.pages import Area
from varsel.ui.parts import UiParts
from varsel.ui.providers import Providers
from varsel.ui.quotas import Quotas
from varsel.ui.recipient import RecipientPage
from varsel.ui.registries import Registries
from varsel.ui.sandbox_registries import SandboxRegistries
from varsel.ui.search import Search
from varsel.ui.send import Send
from varsel.ui.settings_page import SettingsPage
from varsel.ui.webhooks import Webhooks

_AREAS: Final = (
    Area("overview", "/ui/", "viewer"),
    Area("orders", "/ui/orders", "viewer"),
    Area("recipients", "/ui/recipients", "caseworker"),
    Area("send", "/ui/send", "caseworker"),
    Area("operations", "/ui/ops/providers", "operator"),
)
_SANDBOX: Final = Area("sandbox", "/sandbox", "viewer")


def areas(settings: Settings) -> tuple[Area, ...]:
    """The header's menu, from left to right."""
    return (*_AREAS, _SANDBOX) if settings.sandbox.enabled else _AREAS


def site_routes(parts: UiParts) -> list[BaseRoute]:
    synthetic_only = parts.settings.environment != "production"
    return [
        *parts.pages.routes(),
        *parts.access.routes(),
        *Overview(parts).routes(),
        *Search(parts).routes(),
        *Orders(parts).routes(),
        *OrderPage(parts).routes(),
        *RecipientPage(parts).routes(),
        *Lookup(parts).routes(),
        *Send(parts).routes(),
        *BulkPages(parts).routes(),
        *Providers(parts).routes(),
        *Webhooks(parts).routes(),
        *DeadLetters(parts).routes(),
        *Quotas(parts).routes(),
        *SettingsPage(parts).routes(),
        *Audit(parts).routes(),
        *Registries(parts, synthetic_only=synthetic_only).routes(),
        *((*SandboxRegistries(parts).routes(), *Magic(parts).routes()) if parts.settings.sandbox.enabled else ()),
        *parts.access.lost(),
    ]
