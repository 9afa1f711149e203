"""`varsel completion`: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what lets a shell complete commands and options.

    \b
    bash:  echo 'eval "$(varsel completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(varsel completion zsh)"' >> ~/.zshrc
    fish:  varsel completion fish > ~/.config/fish/completions/varsel.fish
    """
    kind = get_completion_class(shell)
    assert kind, shell
    click.echo(kind(ctx.find_root().command, {}, "varsel", "_VARSEL_COMPLETE").source())
