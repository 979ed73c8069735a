"""The command `surgery`: one module a command, imported on demand."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

import click

from surgery.cli import _options
from surgery.errors import SurgeryError, Terminated, did_you_mean, terminate
from surgery.version import __version__

_BUG = 70


def _own() -> list[str]:
    """Return the names of surgery's own commands, from the modules beside this one."""
    files = Path(__file__).parent.glob("[a-z]*.py")
    return sorted(file.stem for file in files if file.stem != "main")


def _of_a_package(name: str) -> click.Command | None:
    """Return another package's command of that name, or None; raises PluginError."""
    from surgery.declared.registry import plugins

    for plugin in plugins("surgery.commands"):
        if plugin.name == name:
            found = plugin.load()
            if not isinstance(found, click.Command):
                raise plugin.error("is not a click command")
            return found
    return None


class _Group(click.Group):
    """The group of commands; for an unknown command it hints at words of recipes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return _own()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _own():
            return _of_a_package(cmd_name) if cmd_name.isidentifier() else None
        command: click.Command = import_module(f"surgery.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if self.get_command(ctx, args[0]) is None and args[0][:1] != "-":
            raise click.UsageError(_no_command(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _no_command(word: str) -> str:
    from surgery.declared.registry import plugins
    from surgery.report.reference import meant

    known = [*_own(), *(plugin.name for plugin in plugins("surgery.commands"))]
    missing = f"there is no command {word!r}"
    if Path(word).suffix in (".yaml", ".yml"):
        return f"{missing}; surgery run {word} runs a recipe"
    if name := meant(word):
        return f"{missing}; in a recipe it is {name}: surgery ops {name}"
    return f"{missing}{did_you_mean(word, known)}; there are {', '.join(known)}"


_IN_A_RECIPE = ("--out", "--output", "--export", "--to", "--save")
_WHERE = "Give the paths to write in the recipe, under export."


@click.group(
    cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80}
)
@click.version_option(__version__)
@click.option(
    "--allow-code",
    is_flag=True,
    help="Let Keras run code in a model file (or SURGERY_ALLOW_CODE=1).",
)
def cli(allow_code: bool) -> None:
    """Open, change and save trained TensorFlow and Keras models, by recipe."""
    if allow_code:
        os.environ["SURGERY_ALLOW_CODE"] = "1"


def main() -> NoReturn:
    """Run the command line and end with its exit code."""
    # A model lives until the end; collecting garbage in it would take a tenth of the time or more.
    gc.set_threshold(1_000_000)
    signal.signal(signal.SIGTERM, terminate)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # not under nohup
        signal.signal(signal.SIGHUP, terminate)
    code = _guarded()
    gc.freeze()  # nor is it looked for at the end, when all memory goes
    sys.exit(code)


def _guarded() -> int:
    try:
        return cli.main(prog_name="surgery", standalone_mode=False) or 0
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except SurgeryError as error:
        _options.echo(error, err=True)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        _say_stopped("interrupted", error)
        return 128 + signal.SIGINT
    except Terminated as error:
        _say_stopped("terminated", error)
        return 128 + signal.SIGTERM
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _options.echo(f"{where}{error.strerror or error}", err=True)
        return 1
    except Exception:
        _report_bug()
        return _BUG


def _say_stopped(how: str, error: BaseException) -> None:
    notes = getattr(error.__cause__ or error, "__notes__", [])  # click turns it into an Abort
    _options.echo("; ".join([f"{how}; nothing was written", *notes]), err=True)


def _show(error: click.ClickException) -> None:
    """Print click's message for a wrong command line, which quotes the arguments."""
    if isinstance(error, click.NoSuchOption) and error.option_name in _IN_A_RECIPE:
        message = f"No such option {error.option_name!r}. {_WHERE}"
        error = click.NoSuchOption(error.option_name, message, ctx=error.ctx)
    with io.StringIO() as text:
        error.show(text)
        _options.echo(text.getvalue().rstrip("\n"), err=True)


def _report_bug() -> None:
    import platform
    import traceback

    _options.echo("This is a bug in surgery. Please report it with the lines below.\n", err=True)
    _options.echo(f"surgery {__version__}, Python {platform.python_version()}", err=True)
    _options.echo(f"command: {' '.join(sys.argv[1:])}", err=True)
    _options.echo(traceback.format_exc(), err=True)
