# SPDX-License-Identifier: GPL-2.0-or-later
"""The task that writes a memory block's state file. Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class HotplugDriver(UserTask):
    """Writes a memory block's state file; by default takes the last block offline."""

    def default_program(self) -> tuple[Op, ...]:
        """Take the last memory block offline."""
        return (operation("offline", block=len(self.machine.memory_blocks) - 1),)
