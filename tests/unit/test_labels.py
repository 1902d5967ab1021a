# SPDX-License-Identifier: GPL-2.0-or-later
"""Every label that an execution passes is one that `ksmtrio list points` knows."""

from __future__ import annotations

from typing import Any

import pytest

from ksmtrio.campaign.listing import points
from ksmtrio.execution import execute
from ksmtrio.kconfig import build_kernel
from ksmtrio.scenario import builtin_groups, builtin_names, load_scenario
from ksmtrio.sched.strategies import resolve
from ksmtrio.trace.recorder import Recorder


@pytest.mark.trio
async def test_no_execution_passes_an_undeclared_label() -> None:
    passed: set[str] = set()

    class Listening(Recorder):
        def choice(self, stream: str, at: str, index: int, of: int, what: str) -> None:
            passed.add(at)
            super().choice(stream, at, index, of, what)

        def operation(self, at: str, event: str, target: Any, value: Any) -> None:
            passed.add(at)
            super().operation(at, event, target, value)

    pairs = builtin_groups()["pairs"]
    for name in builtin_names():
        for seed in range(1 if name in pairs else 4):
            for without in ((), ("recheck_ksm_under_page_lock", "offline_locks_out_ksm")):
                spec = resolve(None, seed, points=400)
                kernel = build_kernel(without=without)
                await execute(load_scenario(name), kernel, spec, recorder=Listening())
    of_actors = {label for label in passed if label != "start" and not label.endswith(".exit")}
    assert of_actors <= {row["label"] for row in points()}
