# SPDX-License-Identifier: GPL-2.0-or-later
"""The KSM daemon. Kernel: mm/ksm.c, ksm_scan_thread(), v2.6.33.

Tests: `tests/unit/test_actors.py`.
"""

from __future__ import annotations

from typing import ClassVar

from ksmtrio.errors import ScenarioError
from ksmtrio.machine import Machine
from ksmtrio.mm.ksm_scan import ksm_scan_thread
from ksmtrio.scenario.schema import ActorSpec


class Ksmd:
    """The kernel thread that merges equal pages, for [ksm] batches rounds."""

    background: ClassVar[bool] = True

    def __init__(self, machine: Machine, spec: ActorSpec) -> None:
        if spec.program or spec.process is not None or spec.repeat != 1:
            raise ScenarioError(
                f"{machine.scenario.source}: actor {spec.name!r} is ksmd, which takes no program, "
                "process or repeat; [ksm] says what it does"
            )
        self._g = machine.g
        self._batches = machine.scenario.ksm.batches

    async def run(self) -> None:
        """Scan until the budget of batches is used."""
        await ksm_scan_thread(self._g, batches=self._batches)
