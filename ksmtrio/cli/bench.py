# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio bench``: what points and executions cost, and how soon strategies find known races.

Tests: `tests/cli/test_cli_bench.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter

import click

from ksmtrio.campaign.bench import SECONDS_DEFAULT, YARDSTICK, BenchReport, bench
from ksmtrio.campaign.bench_plot import plot
from ksmtrio.campaign.bench_strategies import (
    RUNS_DEFAULT,
    TRIALS_DEFAULT,
    BenchPlan,
    StrategiesReport,
    Trial,
    all_strategies,
    bench_strategies,
    program_targets,
    race_targets,
    select,
)
from ksmtrio.campaign.bench_table import markdown
from ksmtrio.campaign.interruption import Interruption
from ksmtrio.cli.exit_codes import INTERRUPTED, NOTHING_FOUND
from ksmtrio.cli.options import Duration, jobs_default, output_options
from ksmtrio.cli.output import Output, number
from ksmtrio.errors import BadInput

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("bench")
@click.option(
    "--time",
    "seconds",
    type=Duration(),
    help=f"Time budget: 90, 2m. Default, without --strategies: {SECONDS_DEFAULT:.0f}.",
)
@click.option("--strategies", is_flag=True, help="Measure how soon each finds each known race.")
@click.option(
    "--programs",
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR",
    help="Programs of this catalogue instead of the kernel's races.",
)
@click.option("--only", multiple=True, metavar="NAME", help="This race or program; repeatable.")
@click.option("--strategy", "chosen", multiple=True, help="This strategy; repeatable.")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=TRIALS_DEFAULT,
    show_default=True,
    help="Trials of each strategy on each race.",
)
@click.option(
    "--runs-max",
    type=click.IntRange(min=1),
    default=RUNS_DEFAULT,
    show_default=True,
    help="Executions of a trial that finds nothing.",
)
@click.option(
    "--jobs",
    type=click.IntRange(1, 1024),
    default=jobs_default,
    show_default="all cores",
    help="Worker processes.",
)
@click.option("--results", type=_FILE, help="Keep the trials done here, and go on from there.")
@click.option("--plot", "plot_file", type=_FILE, help="Write a plot (.svg).")
@click.option("--table", "table_file", type=_FILE, help="Write a table (.md).")
@output_options
def command(
    *,
    seconds: float | None,
    strategies: bool,
    programs: Path | None,
    only: tuple[str, ...],
    chosen: tuple[str, ...],
    seeds: int,
    runs_max: int,
    jobs: int,
    results: Path | None,
    plot_file: Path | None,
    table_file: Path | None,
    output: Output,
) -> None:
    """Measure points and executions a second, on each host and by each strategy.

    Ratios are to a bare trio loop in the same run, so that machines compare. With --strategies:
    executions up to the first finding, of each race in the manual's table of depths.
    """

    def say(text: str) -> None:
        if not output.quiet:
            with suppress(OSError):  # it is measured without anyone who looks on, too
                output.progress.print(text)

    if not strategies:
        if programs or only or chosen or results or plot_file or table_file:
            named = "--programs, --only, --strategy, --results, --plot and --table"
            raise BadInput(f"{named} need --strategies")
        report = bench(perf_counter, seconds=seconds or SECONDS_DEFAULT, on_progress=say)
        output.json(report.to_json())
        _print(output, report)
        sys.exit(NOTHING_FOUND)
    targets = race_targets() if programs is None else program_targets(programs)
    plan = BenchPlan(
        targets=select(targets, only),
        strategies=tuple(dict.fromkeys(chosen)) or all_strategies(),
        trials=seeds,
        runs_max=runs_max,
        jobs=jobs,
        seconds=seconds,
        results=results,
    )
    for file in (results, plot_file, table_file):
        if file is not None and not file.parent.is_dir():
            raise BadInput(f"{file}: cannot be written: there is no folder {file.parent}")
    with Interruption() as interruption:
        measured = bench_strategies(plan, _telling(say), interruption)
    if plot_file is not None:
        _write(plot_file, plot(measured))
    if table_file is not None:
        _write(table_file, markdown(measured))
    output.json(measured.to_json())
    _print_strategies(output, measured)
    sys.exit(INTERRUPTED if interruption.seen else NOTHING_FOUND)


def _telling(say: Callable[[str], None]) -> Callable[[Trial, int], None]:
    """Return what to do with each trial: say how it went, and how many are to come."""

    def tell(trial: Trial, left: int) -> None:
        how = "found in execution" if trial.found else "not found, executions:"
        say(f"{trial.target}, {trial.strategy}: {how} {trial.executions}; trials left: {left}")

    return tell


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{file}: cannot be written: {error.strerror or error}") from error


def _print_strategies(output: Output, report: StrategiesReport) -> None:
    plan = report.plan
    output.say(
        f"executions to the first finding: median and 90th percentile of {plan.trials} trials; "
        "> is beyond the limit, with how many found it"
    )
    if report.todo:
        output.say(f"not finished: {report.todo} trials were not done")
    rows = []
    for target in plan.targets:
        best = report.best(target.name)
        for name, cell in report.cells[target.name].items():
            rows.append(
                [
                    target.name,
                    "" if target.depth is None else str(target.depth),
                    f"{name} *" if name in best else name,
                    cell.text(0.5),
                    cell.text(0.9),
                    f"{cell.found}/{len(cell.executions)}",
                ]
            )
    output.table(["race", "d#", "strategy (* best)", "median#", "p90#", "found#"], rows)
    for target in plan.targets:
        for figure in target.published:
            output.detail(f"  {target.name}, published: {figure}")


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
