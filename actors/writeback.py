# SPDX-License-Identifier: GPL-2.0-or-later
"""The swap device: writes pages to their slots and reads them back, in its own time.

Tests: `tests/unit/test_actors.py`.
"""

from __future__ import annotations

from typing import ClassVar

from ksmtrio.errors import ScenarioError
from ksmtrio.machine import Machine
from ksmtrio.mm.page_io import swap_io_thread
from ksmtrio.scenario.schema import ActorSpec


class Writeback:
    """The swap device's I/O completion; every scenario with swap has it."""

    background: ClassVar[bool] = True

    def __init__(self, machine: Machine, spec: ActorSpec) -> None:
        if spec.program or spec.process is not None or spec.repeat != 1:
            raise ScenarioError(
                f"{machine.scenario.source}: actor {spec.name!r} is the swap device, which takes "
                "no program, process or repeat"
            )
        self._g = machine.g

    async def run(self) -> None:
        """Serve the queue for ever."""
        await swap_io_thread(self._g)
