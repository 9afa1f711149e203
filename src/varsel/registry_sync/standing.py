"""What of a followed register wants a person, in words: for the command and for health (registries 2.5)."""

from datetime import timedelta
from typing import Final

from varsel.domain.feeds import Feed
from varsel.registry_sync.store import Status
from varsel.settings import RegistrySettings

_LATE: Final = timedelta(minutes=60)


def followed(settings: RegistrySettings) -> dict[Feed, timedelta]:
    """The registers that the settings let us follow, and how often."""
    found = {}
    if settings.krr_sync_enabled:
        found[Feed.KRR] = settings.krr_sync_interval
    if settings.business_sync_enabled:
        found[Feed.BUSINESS_ADDRESSES] = settings.business_sync_interval
    return found


def warnings(status: Status, interval: timedelta) -> list[str]:
    """What is wrong with the copy of a register that is followed."""
    found = []
    if status.age is None:
        found.append(f"the copy of {status.feed} was never whole: it answers nothing")
    elif is_late(status, interval):
        hours = status.age.total_seconds() / 3600
        found.append(f"the copy of {status.feed} was last as its register {hours:.1f} h ago")
    return found + [f"{status.feed}: {remedy}" for remedy in remedies(status)]


def is_late(status: Status, interval: timedelta) -> bool:
    """Whether the copy was last as its register over an hour ago, or over two runs ago where they come more rarely."""
    return status.age is None or status.age > max(_LATE, 2 * interval)


def remedies(status: Status) -> list[str]:
    """What is wrong, each with what to do."""
    found = []
    if status.state == "needs_resync":
        found.append(
            f"the register counts from a new beginning: is it the right one? `varsel registry resync {status.feed}`"
        )
    if status.held_back:
        found.append(
            f"{status.held_back:,} rows are gone from the register, too many to be removed unasked: "
            f"`varsel registry resync {status.feed} --allow-large-delete`"
        )
    if status.quarantined:
        records = "1 record is" if status.quarantined == 1 else f"{status.quarantined:,} records are"
        found.append(f"{records} set aside: `varsel registry quarantine list --feed {status.feed}`")
    if status.not_before:
        found.append(f"the register asked us to stay away until {status.not_before:%Y-%m-%d %H:%M} UTC")
    return found
