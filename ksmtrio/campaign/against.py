# SPDX-License-Identifier: GPL-2.0-or-later
"""Fix-checking: what can happen under one kernel and not under another.

Both are explored in the same manner. What only one was seen to do is a difference; that the other
cannot do it is certain only where the other's exploration was complete. Tests:
`tests/cli/test_cli_explore.py`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, Final

import attrs
import trio

from ksmtrio.campaign.explore import ExplorePlan, ExploreReport, explore
from ksmtrio.campaign.exploring import unpack
from ksmtrio.campaign.findings import safe_name
from ksmtrio.campaign.interruption import Interruption
from ksmtrio.campaign.stress import Progress
from ksmtrio.execution import record_subject
from ksmtrio.kconfig import Kernel
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.subject import KernelSubject

WITNESSES_MAX: Final = 20
"""Final states of one side that get a trace; further ones are counted."""


@attrs.frozen
class Row:
    """One thing that only one kernel was seen to do.

    Attributes:
        only_in: name of that kernel.
        what: ``finding`` or ``final state``.
        name: signature, or digest.
        command: shows it again.
    """

    only_in: str
    what: str
    name: str
    command: str


@attrs.frozen(kw_only=True)
class Difference:
    """What two kernels were seen to differ in.

    Attributes:
        one, other: names of the kernels.
        theirs: what came of exploring the other.
        complete: whether all that each can do was seen.
        rows: what was seen under one only, findings first.
        finals: final states only under `one`, only under `other`, and under both.
    """

    one: str
    other: str
    theirs: ExploreReport
    complete: tuple[bool, bool]
    rows: tuple[Row, ...]
    finals: tuple[int, int, int]

    def summary(self) -> str:
        """Return in one line how much differs, and how certain that is."""
        mine, theirs, both = self.finals
        findings = sum(row.what == "finding" for row in self.rows)
        text = (
            f"{findings} findings differ; final states: {mine} only in the first, {theirs} only in "
            f"the second, {both} in both"
        )
        if all(self.complete):
            return f"{text}; both were explored completely within the bound"
        return f"{text}; not both were explored completely, so some may only not have been seen"

    def to_json(self) -> dict[str, Any]:
        """Return it for a report."""
        return {
            "kernel": self.one,
            "against": self.other,
            "complete": list(self.complete),
            "stopped": self.theirs.stopped,
            "statement": self.theirs.statement,
            "fault": self.theirs.fault,
            "final_states": dict(zip(("only", "only_against", "both"), self.finals, strict=True)),
            "differences": [attrs.asdict(row) for row in self.rows],
        }


def compare(
    plan: ExplorePlan,
    report: ExploreReport,
    kernel: Kernel,
    on_progress: Callable[[Progress], None] | None = None,
    interruption: Interruption | None = None,
) -> Difference:
    """Explore the same scenario under another kernel, with budgets of its own, and compare.

    Args and raises: as `explore`.
    """
    subject = plan.quest.subject
    assert isinstance(subject, KernelSubject)
    quest = attrs.evolve(plan.quest, subject=KernelSubject(subject.scenario, kernel))
    other = explore(attrs.evolve(plan, quest=quest), on_progress, interruption)
    rows = [*_findings_only(report, other), *_findings_only(other, report)]
    rows += [*trio.run(_finals_only, report, other), *trio.run(_finals_only, other, report)]
    mine, theirs = set(report.harvest.finals), set(other.harvest.finals)
    return Difference(
        one=subject.kernel.name,
        other=kernel.name,
        theirs=other,
        complete=(_saw_all(report), _saw_all(other)),
        rows=tuple(rows),
        finals=(len(mine - theirs), len(theirs - mine), len(mine & theirs)),
    )


def _kernel_of(report: ExploreReport) -> str:
    subject = report.plan.quest.subject
    assert isinstance(subject, KernelSubject)
    return subject.kernel.name


def _saw_all(report: ExploreReport) -> bool:
    return report.complete and not report.harvest.finals_left_out


def _findings_only(one: ExploreReport, other: ExploreReport) -> list[Row]:
    theirs = set(other.harvest.findings)
    return [
        Row(_kernel_of(one), "finding", found.sighting.finding.signature, found.command)
        for found in one.findings
        if found.sighting.finding.signature not in theirs
    ]


async def _finals_only(one: ExploreReport, other: ExploreReport) -> list[Row]:
    """Return the final states that only one has, the shortest executions first, with traces."""
    only = [
        (len(choices), final, choices)
        for final, choices in one.harvest.finals.items()
        if final not in other.harvest.finals
    ]
    rows = []
    subject = one.plan.quest.subject
    spec = StrategySpec(one.plan.quest.strategy, 0)
    for _, final, choices in sorted(only)[:WITNESSES_MAX]:
        stem = f"{safe_name(subject.name)}-{safe_name(_kernel_of(one))}-final-{final[:12]}"
        path = one.plan.traces / f"{stem}.jsonl.gz"
        await record_subject(subject, unpack(choices), path, made_by=spec)
        command = shlex.join(["ksmtrio", "replay", str(path)])
        rows.append(Row(_kernel_of(one), "final state", final[:12], command))
    return rows
