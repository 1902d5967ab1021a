# SPDX-License-Identifier: GPL-2.0-or-later
"""The command `ksmtrio` itself: finds the verb, turns every way to fail into an exit code.

Verbs are loaded when they are used. Whatever the user gave and cannot be used ends in one line on
stderr and code 2, and so does what the system refuses; a fault of ours in one line and code 4.
KSMTRIO_DEBUG=1 shows where it arose. Tests: `tests/cli/test_cli_main.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, Final

import click

from ksmtrio.campaign.interruption import Interruption
from ksmtrio.cli.exit_codes import BAD_INPUT, BROKEN_PIPE, DIVERGED, FAULT, INTERRUPTED
from ksmtrio.errors import BadInput, EmulatorError, ReplayDiverged
from ksmtrio.trace.format import ksmtrio_version

VERBS: Final = {
    "run": "one execution",
    "stress": "many executions in parallel: the main job",
    "explore": "every schedule, or every one within a bound",
    "replay": "re-execute traces and compare record by record",
    "list": "what there is: scenarios, kernels, switches, ...",
    "doctor": "look for hidden non-determinism",
    "bench": "what points and executions cost, beside a bare trio loop",
}
"""Verb -> what it does; the module of the same name holds a command of the same name."""


class Verbs(click.Group):
    """A group that imports a verb only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order of the manual."""
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a verb."""
        del ctx
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"ksmtrio.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the verbs without importing them."""
        del ctx
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line; ``--help`` and ``--version`` print here, and may fail to."""
        try:
            return super().make_context(*args, **kwargs)
        except (KeyboardInterrupt, OSError) as error:
            raise click.exceptions.Exit(_code_of(error)) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; map what it raises to an exit code."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            where = ctx if error.ctx is None else error.ctx
            message = error.format_message().rstrip(".")
            _complain(f"{message}. Try: {where.command_path} --help")
            ctx.exit(BAD_INPUT)
        except click.exceptions.Exit:
            raise
        except (Exception, KeyboardInterrupt, BaseExceptionGroup) as error:
            code = _code_of(error)
            if code == FAULT and os.environ.get("KSMTRIO_DEBUG"):
                raise
            ctx.exit(code)


def _code_of(error: BaseException) -> int:
    """Report an error in one line and return the exit code for it."""
    if isinstance(error, BaseExceptionGroup):
        if error.subgroup(KeyboardInterrupt) is not None:
            error = KeyboardInterrupt()
        elif error.split(OSError)[1] is None:
            error = _first_in(error)
    if isinstance(error, KeyboardInterrupt):
        with Interruption():
            _complain("interrupted")
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _leave_stdout()
        return BROKEN_PIPE
    if isinstance(error, OSError):
        what = "" if error.filename is None else f"{error.filename}: "
        _complain(f"the system refused: {what}{error.strerror or error}")
        _leave_stdout()
        return BAD_INPUT
    if isinstance(error, BadInput | ReplayDiverged):
        _complain(str(error))
        return BAD_INPUT if isinstance(error, BadInput) else DIVERGED
    _report_fault(error)
    return FAULT


def _first_in(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first_in(error) if isinstance(error, BaseExceptionGroup) else error


def _complain(message: str) -> None:
    with suppress(OSError):  # nobody can be told
        click.echo(f"ksmtrio: error: {' '.join(message.split())}", err=True)


def _report_fault(error: BaseException) -> None:
    """Report a fault of ours in one line that says how to go on."""
    what = str(error) if isinstance(error, EmulatorError) else f"{type(error).__name__}: {error}"
    with suppress(OSError):
        click.echo(
            f"ksmtrio: fault in ksmtrio itself: {' '.join(what.split())}; this is no finding. "
            "Please report it with the command line and its output under KSMTRIO_DEBUG=1",
            err=True,
        )


def _leave_stdout() -> None:
    """Nobody takes our output any more; keep the interpreter from complaining at its exit."""
    with suppress(OSError, ValueError, AttributeError):  # closed, or no real file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(ksmtrio_version(), prog_name="ksmtrio")
def cli() -> None:
    """Deterministic emulator of Linux KSM, page migration and memory hot-remove.

    Exit codes: 0 nothing (new) found, 1 finding, 2 bad usage or input, 3 replay diverged, 4 fault
    in ksmtrio itself, 130 interrupted (results so far are saved).
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code."""
    run: Callable[..., Any] = cli.main
    run(args=arguments, prog_name="ksmtrio")
