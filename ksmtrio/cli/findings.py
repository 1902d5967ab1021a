# SPDX-License-Identifier: GPL-2.0-or-later
"""How findings are printed: a table, then one command each. Tests: `tests/cli/`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ksmtrio.campaign.findings import DistinctFinding
    from ksmtrio.cli.output import Output


def print_findings(output: Output, findings: Sequence[DistinctFinding]) -> None:
    """Print a table of findings, what each says, and the command that shows it again."""
    if not findings:
        return
    output.say()
    output.table(
        ["count#", "first#", "known", "signature"],
        [
            [
                str(found.count),
                str(found.first_execution),
                "no" if found.known is None else "yes",
                found.sighting.finding.signature,
            ]
            for found in findings
        ],
    )
    output.say()
    for found in findings:
        output.say(f"  {found.sighting.finding.message}")
        if found.known is not None:
            output.detail(f"    known: {found.known.explanation}")
        if found.command:
            output.say(f"    {found.command}")
