"""The command `varsel`. Sub-commands are imported when they run: `varsel --help` imports click and nothing else."""

import gc
import importlib
from difflib import get_close_matches
from typing import Final, NamedTuple

import click
from click.shell_completion import CompletionItem

import varsel


class _Command(NamedTuple):
    module: str
    name: str  # of the click command in that module
    help: str  # one line for the list; None of the modules is imported for it
    hidden: bool = False


COMMANDS: Final = {
    "up": _Command("up", "up", "Run everything on this machine."),
    "demo": _Command("demo", "demo", "Show the service at work, with synthetic people."),
    "api": _Command("api", "api", "Run one API process."),
    "worker": _Command("worker", "worker", "Run one worker process."),
    "migrate": _Command("migrate", "migrate", "Bring the database's schema up to this release."),
    "token": _Command("token", "token", "Print a token of the local development issuer."),
    "sign-in": _Command(
        "sign_in", "sign_in", "Print a link that signs somebody in to the pages: once, within ten minutes."
    ),
    "send": _Command("send", "send", "Send to many: one message for each row of a file."),
    "import": _Command("import_", "import_", "Load contact data of one KIND into the registers' local copies."),
    "generate": _Command(
        "import_", "generate", "Write synthetic people and organisations into FOLDER, one file for each kind."
    ),
    "export": _Command("export", "export", "Write the registers' local copies as files of one KIND."),
    "order": _Command("order", "order", "Order a message."),
    "status": _Command("status", "status", "Show what became of an order."),
    "preview": _Command("preview", "preview", "Show what an order would do: who is reached, how, and what it says."),
    "feed": _Command("feed", "feed", "Show your orders that have ended, in the order in which they did."),
    "lookup": _Command("lookup", "lookup", "Show what the registers know of somebody."),
    "registry": _Command(
        "registry", "registry", "The registers that the local copies follow: how they stand, and what to do."
    ),
    "providers": _Command(
        "providers", "providers", "Who sends the messages: how each provider stands, and what to do."
    ),
    "deadletters": _Command(
        "deadletters", "deadletters", "Delivery reports that matched nothing: look at them, try them again."
    ),
    "doctor": _Command("doctor", "doctor", "Look at this installation: what is well, what is not, and what to do."),
    "completion": _Command("completion", "completion", "Print what lets a shell complete commands and options."),
    "simulators": _Command("simulators", "simulators", "Run the sandbox's mail server and SMS gateway.", hidden=True),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [name for name, command in COMMANDS.items() if not command.hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if not (command := COMMANDS.get(cmd_name)):
            return None
        gc.disable()  # what is loaded stays: looking for garbage in it takes a seventh of the time
        try:
            found = getattr(importlib.import_module(f"varsel.cli.{command.module}"), command.name)
        finally:
            gc.enable()
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            meant = get_close_matches(args[0], self.list_commands(ctx), n=1)
            ctx.fail(f"there is no command {args[0]!r}{f': do you mean {meant[0]!r}?' if meant else ''}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the list: completing one must not import all."""
        found = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        if found and not incomplete.startswith("-"):
            return [CompletionItem(name, help=COMMANDS[name].help) for name in found]
        return super(click.Group, self).shell_complete(ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(varsel.__version__, prog_name="varsel")
def cli() -> None:
    """Varsel: email and SMS from an order to its fate.

    Settings are VARSEL_<SECTION>__<NAME> variables, or a TOML file that VARSEL_CONFIG names.
    """


def main() -> None:
    cli(prog_name="varsel")
