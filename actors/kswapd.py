# SPDX-License-Identifier: GPL-2.0-or-later
"""The page reclaim daemon. Kernel: mm/vmscan.c, kswapd(), v2.6.33.

Tests: `tests/unit/test_actors.py`.
"""

from __future__ import annotations

from typing import ClassVar

from ksmtrio.errors import ScenarioError
from ksmtrio.machine import Machine
from ksmtrio.mm.vmscan_reclaim import kswapd
from ksmtrio.scenario.schema import ActorSpec


class Kswapd:
    """The kernel thread that reclaims memory: `repeat` rounds over all nodes."""

    background: ClassVar[bool] = True

    def __init__(self, machine: Machine, spec: ActorSpec) -> None:
        if spec.program or spec.process is not None:
            raise ScenarioError(
                f"{machine.scenario.source}: actor {spec.name!r} is kswapd, which takes no program "
                "and no process; repeat says how many rounds it makes"
            )
        self._g = machine.g
        self._rounds = spec.repeat

    async def run(self) -> None:
        """Reclaim until the budget of rounds is used."""
        await kswapd(self._g, rounds=self._rounds)
