# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio doctor``: look for hidden non-determinism. Tests: `tests/cli/test_cli_doctor.py`."""

from __future__ import annotations

import sys

import click

from ksmtrio.campaign.doctor import doctor
from ksmtrio.cli.exit_codes import FAULT, NOTHING_FOUND
from ksmtrio.cli.options import host_option, output_options
from ksmtrio.cli.output import Output


@click.command("doctor")
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--python", "pythons", multiple=True, metavar="EXECUTABLE", help="Compare it, too.")
@click.option("--seeds", type=click.IntRange(1, 10_000), default=2, show_default=True)
@host_option
@output_options
def command(
    scenarios: tuple[str, ...], pythons: tuple[str, ...], seeds: int, host: str, output: Output
) -> None:
    """Execute each built-in SCENARIO here and in fresh processes, and compare digests.

    Without names: all races, and pairs in which every actor takes part. The processes have other
    hash seeds, run every Python that is named, and execute on --host, while this one is on host
    trio. A disagreement is a fault in ksmtrio (exit code 4); the first differing record is shown.
    """
    report = doctor(
        scenarios=scenarios,
        pythons=pythons,
        seeds=seeds,
        host=host,
        on_progress=None if output.quiet or output.as_json else output.say,
    )
    output.json(report.to_json())
    for found in report.disagreements:
        sample = found.sample
        output.say(
            f"differs: {sample.scenario}, strategy {sample.spec.name}, seed {sample.spec.seed}, "
            f"in {found.python} with PYTHONHASHSEED={found.hash_seed}"
        )
        for line in found.difference.lines() if found.difference is not None else []:
            output.say(line)
    same = not report.disagreements
    verdict = "same digests" if same else f"{len(report.disagreements)} disagreements"
    output.say(f"{verdict}: {report.samples} executions in {len(report.processes)} fresh processes")
    if not same:
        output.warn("ksmtrio: fault in ksmtrio itself: executions are not deterministic")
    sys.exit(NOTHING_FOUND if same else FAULT)
