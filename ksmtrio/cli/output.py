# SPDX-License-Identifier: GPL-2.0-or-later
"""What the verbs print: prose and tables on stdout, or one JSON document; progress on stderr.

Plain ASCII; colour only on a terminal. Nothing here knows what a campaign is. Tests: `tests/cli/`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, TextIO

import click
import msgspec
from rich.console import Console
from rich.table import Table

from ksmtrio.errors import BadInput

_WIDTH_OFF_TERMINAL: Final = 4096
"""Off a terminal nothing is wrapped, so that lines can be searched."""


class Output:
    """Where a verb's results go.

    Attributes:
        as_json: the result is one JSON document; all prose is dropped.
        quiet: no progress and no details.
        progress: console on stderr; drops what it is told where stderr is closed.

    Raises:
        BadInput: stdout is closed.
    """

    def __init__(self, *, as_json: bool, quiet: bool, no_color: bool) -> None:
        self.as_json = as_json
        self.quiet = quiet
        # Python gives None for a descriptor that was closed before it started.
        stdout: TextIO | None = sys.stdout
        stderr: TextIO | None = sys.stderr
        if stdout is None:
            raise BadInput("standard output is closed; send it to a file, or to /dev/null")
        self._out = _console(stdout, no_color=no_color)
        self.progress = _console(io.StringIO() if stderr is None else stderr, no_color=no_color)

    def json(self, document: Any) -> None:
        """Print the one document, when that is wanted."""
        if self.as_json:
            text = msgspec.json.format(msgspec.json.encode(document), indent=2)
            click.echo(text.decode())

    def say(self, text: str = "") -> None:
        """Print a line of the result."""
        if not self.as_json:
            click.echo(text)

    def detail(self, text: str = "") -> None:
        """Print a line that -q leaves out."""
        if not self.quiet:
            self.say(text)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Print rows under a head; numbers, that is columns ending in ``#``, to the right."""
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in columns:
            justify: Literal["left", "right"] = "right" if column.endswith("#") else "left"
            table.add_column(column.rstrip("#"), justify=justify, overflow="fold")
        for row in rows:
            table.add_row(*row)
        with self._out.capture() as capture:
            self._out.print(table)
        for line in capture.get().splitlines():
            click.echo(line.rstrip(), color=True)

    def warn(self, text: str) -> None:
        """Print a line on stderr, always."""
        click.echo(text, err=True)


def shown(name: str) -> str:
    """Return the name of a file as it can stand in a line: what is not printable is escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in name)


def _console(file: TextIO, *, no_color: bool) -> Console:
    terminal = file.isatty()
    return Console(
        file=file,
        no_color=no_color or None,
        color_system="auto" if terminal and not no_color else None,
        width=None if terminal else _WIDTH_OFF_TERMINAL,
        markup=False,
        highlight=False,
        emoji=False,
    )


def number(value: float) -> str:
    """Return a number in at most a few characters: 812, 12.3k, 4.1M."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e4)):
        if value >= size:
            scale = 1e3 if unit == "k" else size
            return f"{value / scale:.1f}{unit}"
    return f"{value:.0f}"


def duration(seconds: float) -> str:
    """Return a time as 12.3 s, 4 min 05 s or 2 h 13 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
