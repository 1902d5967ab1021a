# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio explore``: systematic search. Tests: `tests/cli/test_cli_explore.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ksmtrio.campaign.against import Difference, compare
from ksmtrio.campaign.explore import ExplorePlan, ExploreReport, explore
from ksmtrio.campaign.exploring import Quest
from ksmtrio.campaign.interruption import Interruption
from ksmtrio.cli import exit_codes
from ksmtrio.cli.evidence import print_behaviours
from ksmtrio.cli.findings import print_findings
from ksmtrio.cli.options import (
    Duration,
    finding_options,
    host_option,
    jobs_default,
    kernel_options,
    output_options,
)
from ksmtrio.cli.output import Output, duration, number
from ksmtrio.cli.progress import ProgressLine
from ksmtrio.errors import BadInput
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from ksmtrio.sched.exploration.base import MEMORY_DEFAULT, Settings
from ksmtrio.sched.exploration.registry import EXPLORERS, explorer_kind
from ksmtrio.subject import KernelSubject, Subject, is_program, load_subject

if TYPE_CHECKING:
    from ksmtrio.kconfig import Kernel

STRATEGY_DEFAULT = "dfs"

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("explore")
@click.argument("subject", metavar="SCENARIO|FILE.py:NAME")
@click.option(
    "--strategy",
    default=STRATEGY_DEFAULT,
    show_default=True,
    metavar="NAME",
    help=f"One of: {', '.join(EXPLORERS)}.",
)
@click.option("--mode", default="", metavar="NAME", help="Variant of the strategy.")
@click.option("--bound", type=click.IntRange(0, 64), help="Preemptions at most.")
@click.option("--unbounded", is_flag=True, help="No bound on preemptions.")
@click.option("--runs", type=click.IntRange(min=1), help="Executions at most.")
@click.option("--time", "seconds", type=Duration(), help="Time budget: 90, 2m, 8h.")
@click.option(
    "--memory",
    type=click.IntRange(16, 1 << 20),
    default=MEMORY_DEFAULT,
    show_default=True,
    help="MB for what is remembered.",
)
@click.option("--jobs", type=click.IntRange(1, 1024), help="Worker processes. Default: all cores.")
@click.option("--save", type=_FILE, metavar="FILE", help="Write what is left at the end.")
@click.option("--resume", type=_FILE, metavar="FILE", help="Go on with what was saved.")
@click.option("--against", metavar="KERNEL", help="Report what this kernel cannot do, or only it.")
@click.option("--against-with", multiple=True, metavar="SWITCH", help="On in that kernel.")
@click.option("--against-without", multiple=True, metavar="SWITCH", help="Off in that kernel.")
@kernel_options
@finding_options
@host_option
@output_options
def command(
    *,
    subject: str,
    strategy: str,
    mode: str,
    bound: int | None,
    unbounded: bool,
    runs: int | None,
    seconds: float | None,
    memory: int,
    jobs: int | None,
    save: Path | None,
    resume: Path | None,
    against: str | None,
    against_with: tuple[str, ...],
    against_without: tuple[str, ...],
    kernel: Kernel,
    traces: Path,
    fail_on: str,
    host: str,
    output: Output,
) -> None:
    """Execute every schedule, or every one within a bound, and say whether that was all."""
    if unbounded and bound is not None:
        raise BadInput("--bound and --unbounded contradict each other")
    chosen = bound if bound is not None or unbounded else explorer_kind(strategy).bound
    what = _subject_of(subject, kernel)
    settings = Settings(bound=chosen, mode=mode, memory=memory)
    plan = ExplorePlan(
        quest=Quest(subject=what, strategy=strategy, settings=settings, host=host),
        jobs=jobs or jobs_default(),
        runs=runs,
        seconds=seconds,
        traces=traces,
        save=save,
        resume=resume,
    )
    other = None
    if against is not None or against_with or against_without:
        if not isinstance(what, KernelSubject) or save or resume:
            raise BadInput("--against compares kernels: no program, no --save, no --resume")
        name = kernel.name.partition(" ")[0] if against is None else against
        other = build_kernel(name, with_=against_with, without=against_without)
    with Interruption() as interruption:
        with ProgressLine(output) as progress:
            report = explore(plan, progress, interruption)
            difference = None
            if other is not None and report.stopped not in {"interrupted", "fault"}:
                difference = compare(plan, report, other, progress, interruption)
        document = report.to_json()
        if difference is not None:
            document["against"] = difference.to_json()
        output.json(document)
        _print(output, report)
        if difference is not None:
            _print_difference(output, difference)
    theirs = None if difference is None else difference.theirs
    sys.exit(exit_codes.of_exploration(report, theirs, fail_on=fail_on))


def _subject_of(name: str, kernel: Kernel) -> Subject:
    return load_subject(name) if is_program(name) else KernelSubject(load_scenario(name), kernel)


def _print(output: Output, report: ExploreReport) -> None:
    counts, quest = report.counts, report.plan.quest
    output.say(
        f"{report.verdict}: {report.statement}; {counts.executions} executions in "
        f"{duration(report.seconds)}; ended: {report.stopped}"
    )
    mode = f" ({quest.settings.mode})" if quest.settings.mode else ""
    output.detail(
        f"  {quest.strategy}{mode} on host {quest.host}: {counts.redundant} redundant, "
        f"{counts.blocked} blocked, {counts.states} states; {len(report.harvest.finals)} final "
        f"states, {number(report.harvest.executions / max(report.seconds, 1e-9))} executions/s"
    )
    if not report.complete:
        left = "unknown" if report.work_left is None else f"about {report.work_left} executions"
        output.detail(f"  not complete; left: {left}")
    print_behaviours(output, report.behaviours())
    print_findings(output, report.findings)
    _warn(output, report)


def _warn(output: Output, report: ExploreReport) -> None:
    if report.fault is not None:
        output.warn(f"ksmtrio: fault in ksmtrio itself: {report.fault}; please report it")
    if report.unsaved is not None:
        output.warn(f"ksmtrio: error: {report.unsaved}")


def _print_difference(output: Output, difference: Difference) -> None:
    output.say()
    output.say(f"{difference.one} against {difference.other}: {difference.summary()}")
    rows = [[row.only_in, row.what, row.name, row.command] for row in difference.rows]
    if rows:
        output.table(["only in", "what", "which", "shown by"], rows)
    _warn(output, difference.theirs)
