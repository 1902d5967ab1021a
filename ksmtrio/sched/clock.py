# SPDX-License-Identifier: GPL-2.0-or-later
"""Virtual time. Nothing below `cli` ever reads a wall clock.

Tests: `tests/unit/test_runtime.py`.
"""

from __future__ import annotations

import attrs


@attrs.define(eq=False)
class Clock:
    """Virtual jiffies: each yield and each sleep of any actor costs one."""

    jiffies: int = 0

    def tick(self) -> None:
        """Let one jiffy pass."""
        self.jiffies += 1
