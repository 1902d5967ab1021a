# SPDX-License-Identifier: GPL-2.0-or-later
"""The exit codes, one per kind of ending. Tests: `tests/cli/`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ksmtrio.campaign.explore import ExploreReport
    from ksmtrio.campaign.stress import StressReport

NOTHING_FOUND: Final = 0
FINDING: Final = 1
BAD_INPUT: Final = 2
DIVERGED: Final = 3
FAULT: Final = 4
INTERRUPTED: Final = 130
BROKEN_PIPE: Final = 141
"""As a shell reports the end by SIGPIPE."""

_WORST_FIRST: Final = (FAULT, DIVERGED, BAD_INPUT, FINDING, NOTHING_FOUND)


def worst(codes: Iterable[int]) -> int:
    """Return the code that stands for several."""
    given = set(codes)
    return next((code for code in _WORST_FIRST if code in given), NOTHING_FOUND)


def of_campaign(report: StressReport, *, fail_on: str) -> int:
    """Return the code of a campaign; a fault or a missed canary is worse than any finding."""
    if report.fault is not None:
        return FAULT
    if report.canary is not None and not report.canary.found:
        return FAULT
    if report.unsaved is not None:
        return BAD_INPUT
    if report.stopped == "interrupted":
        return INTERRUPTED
    if report.shortfall() is not None:
        return BAD_INPUT
    if report.failing(fail_on=fail_on):
        return FINDING
    return FAULT if report.verdict == "undecided" else NOTHING_FOUND


def of_exploration(
    report: ExploreReport, against: ExploreReport | None = None, *, fail_on: str
) -> int:
    """Return the code of an exploration; one that ended early without a finding found nothing.

    Findings of the kernel that it was compared with are no findings of this one.
    """
    both = [report] if against is None else [report, against]
    if any(one.fault is not None for one in both):
        return FAULT
    if any(one.unsaved is not None for one in both):
        return BAD_INPUT
    if any(one.stopped == "interrupted" for one in both):
        return INTERRUPTED
    return FINDING if report.failing(fail_on=fail_on) else NOTHING_FOUND
