# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio bench``: what points and executions cost. Tests: `tests/cli/test_cli_bench.py`."""

from __future__ import annotations

import sys
from contextlib import suppress
from time import perf_counter

import click

from ksmtrio.campaign.bench import SECONDS_DEFAULT, YARDSTICK, BenchReport, bench
from ksmtrio.cli.exit_codes import NOTHING_FOUND
from ksmtrio.cli.options import Duration, output_options
from ksmtrio.cli.output import Output, number


@click.command("bench")
@click.option(
    "--time",
    "seconds",
    type=Duration(),
    default=SECONDS_DEFAULT,
    show_default=True,
    help="Time budget: 90, 2m.",
)
@output_options
def command(seconds: float, output: Output) -> None:
    """Measure points and executions a second, on each host and by each strategy.

    Ratios are to a bare trio loop in the same run, so that machines compare.
    """

    def say(text: str) -> None:
        if not output.quiet:
            with suppress(OSError):  # it is measured without anyone who looks on, too
                output.progress.print(text)

    report = bench(perf_counter, seconds=seconds, on_progress=say)
    output.json(report.to_json())
    _print(output, report)
    sys.exit(NOTHING_FOUND)


def _print(output: Output, report: BenchReport) -> None:
    output.say(f"yardstick: {YARDSTICK}: {number(report.yardstick)}/s")
    output.table(
        ["load", "points/s#", "executions/s#", "ratio#"],
        [
            [
                row.name,
                number(row.points_per_s),
                "" if row.executions_per_s is None else number(row.executions_per_s),
                f"{row.ratio:.2f}",
            ]
            for row in report.rows
        ],
    )
