# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio stress``: many executions in parallel. Tests: `tests/cli/test_cli_stress.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ksmtrio.campaign.evidence import ASSUMES
from ksmtrio.campaign.interruption import Interruption
from ksmtrio.campaign.stress import SECONDS_DEFAULT, StressPlan, StressReport, stress
from ksmtrio.cli import exit_codes
from ksmtrio.cli.evidence import print_behaviours, print_bound
from ksmtrio.cli.findings import print_findings
from ksmtrio.cli.options import (
    Duration,
    SeedRange,
    finding_options,
    host_option,
    jobs_default,
    kernel_options,
    output_options,
    strategy_options,
)
from ksmtrio.cli.output import Output, duration, number
from ksmtrio.cli.progress import ProgressLine
from ksmtrio.kconfig import Kernel
from ksmtrio.scenario import builtin_names
from ksmtrio.subject import subject_named


@click.command("stress")
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--runs", type=click.IntRange(min=1), help="Executions in all.")
@click.option("--seeds", type=SeedRange(), help="Seeds of each scenario, B excluded.")
@click.option(
    "--time",
    "seconds",
    type=Duration(),
    help=f"Time budget: 90, 2m, 8h. Default, without --runs and --seeds: {SECONDS_DEFAULT:.0f}.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    default=jobs_default,
    show_default="all cores",
    help="Worker processes.",
)
@strategy_options
@kernel_options
@finding_options
@host_option
@output_options
def command(
    scenarios: tuple[str, ...],
    runs: int | None,
    seeds: range | None,
    seconds: float | None,
    jobs: int,
    strategy: str | None,
    depth: int | None,
    kernel: Kernel,
    traces: Path,
    fail_on: str,
    host: str,
    output: Output,
) -> None:
    """Execute many seeds of each SCENARIO (default: all built-in ones) and report what was found.

    A SCENARIO is a built-in name, a TOML file or a program FILE.py:NAME. Each distinct finding is
    saved as a trace and comes with the command that shows it again.
    """
    bounded = runs is not None or seeds is not None or seconds is not None
    plan = StressPlan(
        subjects=tuple(subject_named(name, kernel) for name in scenarios or builtin_names()),
        kernel=kernel,
        strategy=strategy,
        depth=depth,
        first_seed=seeds.start if seeds else 0,
        runs=runs,
        seeds=len(seeds) if seeds else None,
        seconds=seconds if bounded else SECONDS_DEFAULT,
        jobs=jobs,
        traces=traces,
        host=host,
    )
    with Interruption() as interruption:
        with ProgressLine(output) as progress:
            report = stress(plan, progress, interruption)
        output.json(report.to_json())
        _print(output, report)
        _warn(output, report)
    sys.exit(exit_codes.of_campaign(report, fail_on=fail_on))


def _warn(output: Output, report: StressReport) -> None:
    """Say what is wrong with the campaign as such, a line each."""
    if report.fault is not None:
        output.warn(f"ksmtrio: fault in ksmtrio itself: {report.fault}; please report it")
    if report.unsaved is not None:
        output.warn(f"ksmtrio: error: {report.unsaved}")
    if report.canary is not None and not report.canary.found:
        output.warn(f"ksmtrio: {report.canary.complaint()}")
    shortfall = report.shortfall()
    if shortfall is not None:
        output.warn(f"ksmtrio: error: {shortfall}")


def _print(output: Output, report: StressReport) -> None:
    seconds = max(report.seconds, 1e-9)
    new = len(report.failing(fail_on="new"))
    output.say(
        f"{report.verdict}: {report.executions} executions in {duration(report.seconds)}, "
        f"{len(report.findings)} distinct findings ({new} new); ended: {report.stopped}"
    )
    output.detail(
        f"  {number(report.executions / seconds)} executions/s, "
        f"{number(report.points / seconds)} points/s, "
        f"{report.evidence.distinct_schedules} distinct schedules; kernel {report.kernel.name}"
    )
    if report.verdict == "clean":
        print_bound(output, report.evidence.bound(), ASSUMES)
    print_behaviours(output, report.evidence.behaviours)
    if report.canary is not None and report.canary.found:
        output.detail(f"  canary found after {report.canary.executions} executions")
    if report.decisions is not None:
        output.detail(f"  decisions of the portfolio: {report.decisions}")
    _print_marks(output, report)
    print_findings(output, report.findings)


def _print_marks(output: Output, report: StressReport) -> None:
    rows = [
        [scenario, mark, str(count)]
        for scenario, marks in report.evidence.marks.items()
        for mark, count in sorted(marks.items())
    ]
    if rows and not output.quiet:
        output.say()
        output.table(["scenario", "mark reached", "executions#"], rows)
