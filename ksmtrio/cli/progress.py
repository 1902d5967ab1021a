# SPDX-License-Identifier: GPL-2.0-or-later
"""The live line of a campaign, on stderr. Tests: `tests/unit/test_campaign_stress.py`."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from rich.live import Live
from rich.text import Text

from ksmtrio.cli.output import Output, duration, number

if TYPE_CHECKING:
    from ksmtrio.campaign.stress import Progress

_SECONDS_BETWEEN_LINES: Final = 10.0
"""Off a terminal a line is printed that often; on one it is renewed in place."""


class ProgressLine:
    """Shows where a campaign stands; use as a context manager, and call with each `Progress`."""

    def __init__(self, output: Output) -> None:
        self._console = output.progress
        self._silent = output.quiet
        self._live: Live | None = None
        self._next_line = monotonic() + _SECONDS_BETWEEN_LINES

    def __enter__(self) -> Self:
        if not self._silent and self._console.is_terminal:
            self._live = Live(
                Text("starting workers"),
                console=self._console,
                transient=True,
                refresh_per_second=4,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show the newest state."""
        if self._live is not None:
            self._live.update(Text(progress_text(progress)))
        elif not self._silent and monotonic() >= self._next_line:
            self._next_line = monotonic() + _SECONDS_BETWEEN_LINES
            with suppress(OSError):  # a campaign goes on without anyone who looks at it
                self._console.print(progress_text(progress))


def progress_text(progress: Progress) -> str:
    """Return the line: executions, rates, findings, time left."""
    seconds = max(progress.seconds, 1e-9)
    of = "" if progress.total is None else f" of {progress.total}"
    parts = [
        f"{progress.executions}{of} executions",
        f"{number(progress.executions / seconds)}/s",
        f"{number(progress.points / seconds)} points/s",
        f"{progress.findings} distinct findings ({progress.new} new)",
    ]
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return "  ".join(parts)
