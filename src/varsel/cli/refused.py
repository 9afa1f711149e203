"""How a command ends when somebody must act. Stands alone, so that commands start quickly."""

import click


class Refused(click.ClickException):
    """A person must change something; trying again is of no use. `varsel up` stops when a child ends so."""

    exit_code = 2
