"""Everything under /profile and /registry: what users and directories register, and what support looks up."""

from collections.abc import Sequence

from starlette.routing import BaseRoute

from varsel.api.organisation_addresses import organisation_address_routes
from varsel.api.parts import ApiParts
from varsel.api.profile_addresses import address_routes
from varsel.api.profile_private import private_routes
from varsel.api.profile_support import support_routes
from varsel.api.profile_verification import verification_routes
from varsel.api.registry_lookup import lookup_routes
from varsel.api.registry_rows import row_routes
from varsel.api.users import Users
from varsel.recipients.profile.access import AccessLog, log_key


def profile_routes(parts: ApiParts) -> Sequence[BaseRoute]:
    """Without a key for the log of look-ups, production offers no look-ups to support."""
    registry = parts.settings.registry
    users = Users(parts.authenticator, scopes=registry.require_enduser_scope)
    routes = list(row_routes(parts))
    if registry.user_provider == "local":  # who asks another register has its users there
        routes += [*address_routes(parts, users), *verification_routes(parts, users)]
    if registry.org_provider == "local":
        routes += organisation_address_routes(parts, users)
    if registry.external_provider == "local":
        routes += private_routes(parts, users)
    if key := log_key(parts.settings):
        log = AccessLog(parts.database, parts.clock, key)
        routes += [*support_routes(parts, log), *lookup_routes(parts, log)]
    return routes
