# SPDX-License-Identifier: GPL-2.0-or-later
"""``ksmtrio replay``: re-execute and compare. Tests: `tests/replay/test_edited_traces.py`."""

from __future__ import annotations

import sys
from typing import Any

import click

from ksmtrio.cli.exit_codes import BAD_INPUT, DIVERGED, FAULT, NOTHING_FOUND, worst
from ksmtrio.cli.options import host_option, output_options
from ksmtrio.cli.output import Output, shown
from ksmtrio.errors import BadInput, EmulatorError
from ksmtrio.execution import replay_trace


@click.command("replay")
@click.argument("traces", nargs=-1, required=True, metavar="TRACE...")
@host_option
@output_options
def command(traces: tuple[str, ...], host: str, output: Output) -> None:
    """Re-execute each TRACE and compare record by record, up to the first difference.

    Exit code 0 when all are the same, whether they show a finding or not; 3 when one differs.
    """
    results = [_replay(output, file, host) for file in traces]
    output.json({"traces": [row for _, row in results]})
    sys.exit(worst(code for code, _ in results))


def _replay(output: Output, file: str, host: str) -> tuple[int, dict[str, Any]]:
    name = shown(file)
    raw = file.encode("utf-8", "backslashreplace").decode()
    row: dict[str, Any] = {"file": raw, "same": False, "first_difference": None}
    try:
        result = replay_trace(file, host)
    except (BadInput, EmulatorError) as error:
        bad_input = isinstance(error, BadInput)
        what = "error" if bad_input else "fault in ksmtrio itself"
        message = shown(str(error))
        if name not in message:
            message = f"{name}: {message}"
        output.warn(f"ksmtrio: {what}: {message}")
        return BAD_INPUT if bad_input else FAULT, {**row, "error": message}
    row.update(verdict=result.verdict, findings=list(result.findings), points=result.points)
    if result.difference is None:
        output.say(f"same: {name} ({result.verdict}, {result.points} points)")
        for signature in result.findings:
            output.detail(f"  {signature}")
        return NOTHING_FOUND, {**row, "same": True}
    output.say(f"differs: {name}, line {result.difference.line} (- recorded, + replayed)")
    for line in result.difference.lines():
        output.say(line)
    output.warn(f"ksmtrio: replay diverged: {name}, line {result.difference.line}")
    return DIVERGED, {**row, "first_difference": result.difference.to_json()}
