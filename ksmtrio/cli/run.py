# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio run``: one execution. Tests: `tests/cli/test_cli_run.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ksmtrio.campaign.evidence import ASSUMES
from ksmtrio.campaign.single import run_once
from ksmtrio.cli.evidence import print_bound
from ksmtrio.cli.exit_codes import FINDING, NOTHING_FOUND
from ksmtrio.cli.findings import print_findings
from ksmtrio.cli.options import (
    SEED_MAX,
    finding_options,
    host_option,
    kernel_options,
    output_options,
    strategy_options,
)
from ksmtrio.cli.output import Output
from ksmtrio.kconfig import Kernel
from ksmtrio.sched.strategies.interleave import Followed
from ksmtrio.subject import subject_named


@click.command("run")
@click.argument("scenario")
@click.option("--seed", type=click.IntRange(0, SEED_MAX), default=0, show_default=True)
@click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the full log (.jsonl or .jsonl.gz).",
)
@click.option(
    "--interleave",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Follow these lines, `actor: label .. label`, instead of a strategy.",
)
@strategy_options
@kernel_options
@finding_options
@host_option
@output_options
def command(
    scenario: str,
    seed: int,
    record: Path | None,
    interleave: Path | None,
    strategy: str | None,
    depth: int | None,
    kernel: Kernel,
    traces: Path,
    fail_on: str,
    host: str,
    output: Output,
) -> None:
    """Execute SCENARIO, a built-in name, a TOML file or a program FILE.py:NAME, once."""
    report = run_once(
        subject_named(scenario, kernel),
        strategy=strategy,
        depth=depth,
        seed=seed,
        record=record,
        traces=traces,
        interleave=interleave,
        host=host,
    )
    output.json(report.to_json())
    outcome = report.outcome
    kernel_text = "" if report.kernel is None else f", kernel {report.kernel}"
    output.say(f"{outcome.verdict}: {report.subject.name}{kernel_text}")
    spec = report.spec
    depth_text = f", depth {spec.depth}" if spec.depth else ""
    output.detail(
        f"  strategy {spec.name}{depth_text}, seed {spec.seed}; {outcome.points} points; "
        f"ended: {outcome.stop_reason}"
    )
    output.detail(f"  digest {outcome.event_digest}, final machine {outcome.machine_digest}")
    if report.followed is not None:
        _say_how_far(output, str(interleave), report.followed)
    if outcome.marks:
        output.detail(f"  marks reached: {', '.join(outcome.marks)}")
    if record is not None:
        output.detail(f"  trace {record}")
    behaviour = report.behaviour
    output.detail(
        f"  one behaviour: reads-from {behaviour.reads_from:016x}, "
        f"lock order {behaviour.lock_order:016x}"
    )
    print_bound(output, report.evidence.bound(), ASSUMES)
    print_findings(output, report.findings)
    sys.exit(FINDING if report.failing(fail_on=fail_on) else NOTHING_FOUND)


def _say_how_far(output: Output, file: str, followed: Followed) -> None:
    output.detail(f"  {file}: followed {followed.done} of {followed.lines} lines")
    if followed.last is not None:
        output.detail(f"    the execution ended in line {followed.last}")
    divergence = followed.divergence
    if divergence is not None:
        output.detail(f"    line {divergence.line}: {divergence.text}")
        output.detail(f"    expected: {divergence.expected}")
        output.detail(f"    instead: {divergence.instead}")
        output.detail(f"    enabled: {'; '.join(divergence.enabled)}")
