"""The command line's entry point: registers the verbs, and turns every error of ours into one line and exit code 2."""

from __future__ import annotations

import signal
import sys
from typing import Any

import typer

from unvanish.cli import check, demo, explain, fix, report, run
from unvanish.errors import UnvanishError
from unvanish.standard_error import print_to_stderr

OUR_ERROR = 2

# Some releases of typer build on click, others carry a copy of it: the root of its errors is the one that theirs descend from.
_COMMAND_LINE_ERROR: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

app = typer.Typer(
    name="unvanish",
    help="Tells you why a deep network has stopped learning, and which change cures it.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("run", context_settings={"allow_interspersed_args": False})(run.run)
app.command("check")(check.check)
app.command("fix", context_settings={"allow_interspersed_args": False})(fix.fix)
app.command("report")(report.report)
app.command("explain")(explain.explain)
app.command("list")(explain.listing)
app.command("demo")(demo.demo)


def _print_nothing(*_: object) -> None:
    """An `excepthook` that leaves an exception untold."""


def main() -> None:
    """Runs the command line and exits with its code."""
    code = run_app(sys.argv[1:])
    if code == -signal.SIGINT:
        sys.excepthook = _print_nothing  # the traceback stands there already; Python ends by the signal, as it does for a script
        raise KeyboardInterrupt
    sys.exit(code)


def run_app(arguments: list[str]) -> int:
    """The exit code of a command line; negative, the number of the signal that is to end the process."""
    if arguments[:1] == ["fix"]:
        sys.dont_write_bytecode = True  # beside what is imported from here on; trials write none either
    try:
        code = app(args=run.separate_module_options(arguments) or ["--help"], standalone_mode=False)
    except _COMMAND_LINE_ERROR as fault:
        return _print_error(fault.format_message())
    except UnvanishError as fault:
        return _print_error(str(fault))
    except (typer.Abort, KeyboardInterrupt):
        return 130
    return code if isinstance(code, int) else 0


def _print_error(message: str) -> int:
    print_to_stderr(message)
    return OUR_ERROR
