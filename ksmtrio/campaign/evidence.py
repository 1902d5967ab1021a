# SPDX-License-Identifier: GPL-2.0-or-later
"""What a campaign without a finding is worth, in numbers.

The word *clean* itself comes from `trace.verdict.verdict_of`. Tests:
`tests/unit/test_campaign_evidence.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import attrs

from ksmtrio.sched.choices import Choices
from ksmtrio.trace.verdict import Verdict, verdict_of

ASSUMES: Final = "independent seeds; schedules that the strategy cannot produce do not count"
"""What the figures at 95 % confidence rest on. Strategies that learn within a block of seeds are
independent from block to block only.
"""

_CONFIDENCE: Final = 0.95
_HASH_BYTES: Final = 8


def hash_of(choices: Choices) -> int:
    """Return a hash of 64 bits of all choices, equal in every process."""
    text = repr((choices.schedule, choices.data, choices.faults))
    return int.from_bytes(blake2b(text.encode(), digest_size=_HASH_BYTES).digest(), "big")


@attrs.frozen
class Evidence:
    """What was done.

    Attributes:
        executions: that came to their end.
        points: schedule points in all of them.
        distinct_schedules: different lists of choices among them.
        marks: scenario -> mark -> executions that reached it.
        canary: what became of the canary; None when there was none.
        findings: distinct ones; with any, silence proves nothing and there is no bound.
        behaviours: what is known of them, from `behaviours.report`.
    """

    executions: int
    points: int
    distinct_schedules: int
    marks: Mapping[str, Counter[str]]
    canary: Mapping[str, Any] | None
    findings: int
    behaviours: Mapping[str, Any]

    def verdict(self) -> Verdict:
        """Return the verdict of the campaign; a missed canary takes the word *clean* away."""
        missed = self.canary is not None and not self.canary["found"]
        return verdict_of(executions=0 if missed else self.executions, findings=self.findings)

    def bound(self) -> float | None:
        """Return `failure_probability_bound`, or None when there are findings."""
        return None if self.findings else failure_probability_bound(self.executions)

    def to_json(self) -> dict[str, Any]:
        """Return the evidence for a report."""
        return {
            "executions": self.executions,
            "points": self.points,
            "distinct_schedules": self.distinct_schedules,
            "failure_probability_bound_95": self.bound(),
            "assumes": ASSUMES,
            "behaviours": dict(self.behaviours),
            "marks": {name: dict(marks) for name, marks in self.marks.items()},
            "canary": None if self.canary is None else dict(self.canary),
        }


def failure_probability_bound(executions: int) -> float | None:
    """Return the largest probability of a finding per execution that the silence leaves open.

    At 95 % confidence, for independent executions of which none showed anything: 1 - 0.05^(1/n).
    None when nothing was executed: then nothing is known.
    """
    if executions <= 0:
        return None
    bound: float = 1.0 - (1.0 - _CONFIDENCE) ** (1.0 / executions)
    return bound
