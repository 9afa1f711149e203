"""What a benchmark found: a figure, the bound that the machine sets it, and the floor that we promise."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

RESULTS: Final = Path(".bench/results.json")


@dataclass(frozen=True, slots=True)
class Bound:
    """What the machine does when nothing but the named work is done. In the unit of its figure."""

    what: str
    value: float


@dataclass(frozen=True, slots=True)
class Figure:
    """`floor`: the least that we promise, or, for what `falls`, the most (milliseconds). `details` by name and unit."""

    name: str
    value: float
    unit: str
    bound: Bound | None = None
    floor: float | None = None
    falls: bool = False
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        if self.floor is None:
            return True
        return self.value <= self.floor if self.falls else self.value >= self.floor

    @property
    def ratio(self) -> float | None:
        """Of the bound that is reached; 1 is all of it."""
        if self.bound is None or not self.bound.value or not self.value:
            return None
        return self.bound.value / self.value if self.falls else self.value / self.bound.value


def show(figures: Sequence[Figure]) -> None:
    table = Table(title="Varsel's figures on this machine", title_justify="left")
    table.add_column("What")
    for heading in ("Figure", "Bound", "Ratio", "Floor"):
        table.add_column(heading, justify="right")
    table.add_column("Bound is", overflow="fold")
    table.add_column("Details", overflow="fold")
    for each in figures:
        colour = "green" if each.holds else "bold red"
        table.add_row(
            each.name,
            f"[{colour}]{number(each.value)} {each.unit}[/]",
            number(each.bound.value) if each.bound else "",
            f"{each.ratio:.2f}" if each.ratio else "",
            f"{'≤' if each.falls else '≥'} {number(each.floor)}" if each.floor is not None else "",
            each.bound.what if each.bound else "",
            ", ".join(f"{name} {number(value)}" for name, value in each.details.items()),
        )
    Console(width=None if Console().is_terminal else 180).print(table)


def number(value: float) -> str:
    """Three digits that matter; thin spaces between thousands."""
    return f"{value:,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def save(figures: Sequence[Figure], settings: Mapping[str, str], file: Path = RESULTS) -> None:
    """Write everything as JSON: date, machine, settings of the database, figures."""
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": dict(settings),
        "figures": [_document(each) for each in figures],
    }
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def _document(figure: Figure) -> dict[str, Any]:
    return asdict(figure) | {"ratio": figure.ratio, "holds": figure.holds}


def machine() -> dict[str, str | int]:
    """What the figures depend on, and nothing that names a host."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count() or 0,
        "cores used": len(os.sched_getaffinity(0)),
        "memory GiB": round(int(memory) / 1024**2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _lines(file: str) -> list[str]:
    try:
        return Path(file).read_text().splitlines()
    except OSError:
        return []


def percentile(values: Sequence[float], share: float) -> float:
    """Of sorted values, by the nearest rank."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0
