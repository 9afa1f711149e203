"""The embedded PostgreSQL server: the default database, and the one that tests use."""

from varsel.embedded.place import HomeInUse, ServerError, default_home, die_with_parent, remove_home, running_dsn
from varsel.embedded.server import Embedded

__all__ = ["Embedded", "HomeInUse", "ServerError", "default_home", "die_with_parent", "remove_home", "running_dsn"]
