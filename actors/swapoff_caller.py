# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that calls swapoff(2). Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class SwapoffCaller(UserTask):
    """Calls swapoff, which brings all pages back from swap."""

    def default_program(self) -> tuple[Op, ...]:
        """Call swapoff once."""
        return (operation("swapoff"),)
