"""Durations on the command line: `90s`, `30m`, `1h`, `7d`."""

import re
from datetime import timedelta
from typing import Final

import click

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST: Final = timedelta(days=366)


class Duration(click.ParamType[timedelta]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([1-9][0-9]{0,8})([smhd])", str(value))
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()
        if not timedelta() < duration <= _LONGEST:
            self.fail(f"{value!r} is not a duration like 90s, 30m, 1h or 7d, of a year at most", param, ctx)
        return duration
