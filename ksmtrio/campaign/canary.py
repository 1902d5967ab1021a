# SPDX-License-Identifier: GPL-2.0-or-later
"""The canary: a known race that every campaign must find before its silence means anything.

Tests: `tests/unit/test_campaign_stress.py`.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from ksmtrio.campaign.workers import ChunkResult, Job
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import load_scenario
from ksmtrio.subject import KernelSubject

SCENARIO: Final = "first_race"
KERNEL: Final = "v2.6.33"
WITHOUT: Final = "ksm_notifier_first"
FINDING: Final = ("locks", "foreign-unlock")
SEEDS_MAX: Final = 2000


@attrs.frozen
class Canary:
    """What became of the canary.

    Attributes:
        found: whether the race was found.
        executions: how many it took.
    """

    found: bool
    executions: int

    def to_json(self) -> dict[str, Any]:
        """Return it for a report."""
        return {
            "found": self.found,
            "executions": self.executions,
            "scenario": SCENARIO,
            "kernel": f"{KERNEL} --without {WITHOUT}",
        }

    def complaint(self) -> str:
        """Return what to say of a canary that was missed."""
        return (
            f"THE CANARY WAS MISSED: {SCENARIO} on {KERNEL} --without {WITHOUT} has a known race, "
            f"and {self.executions} executions did not find it; results of this campaign mean "
            "nothing"
        )


def canary_job() -> Job:
    """Return the job that must stop at the known race."""
    return Job(
        subject=KernelSubject(load_scenario(SCENARIO), build_kernel(KERNEL, without=[WITHOUT])),
        strategy=None,
        depth=None,
        first_seed=0,
        count=SEEDS_MAX,
        stop_at=FINDING,
    )


def judge_canary(result: ChunkResult) -> Canary:
    """Return whether the canary job found its race."""
    return Canary(result.stopped, result.executions)
