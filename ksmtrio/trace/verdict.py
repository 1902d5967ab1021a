# SPDX-License-Identifier: GPL-2.0-or-later
"""The one place that says *clean*. Nothing executed is never clean.

Tests: `tests/unit/test_campaign_evidence.py`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["finding", "clean", "undecided"]
"""``finding``: something was seen; ``clean``: executed and nothing seen; ``undecided``: neither."""


def verdict_of(*, executions: int, findings: int) -> Verdict:
    """Return what so many executions with so many findings amount to.

    Args:
        executions: that came to their end.
        findings: that count.
    """
    assert executions >= 0
    assert findings >= 0
    if findings:
        return "finding"
    return "clean" if executions else "undecided"
