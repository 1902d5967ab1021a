# SPDX-License-Identifier: GPL-2.0-or-later
"""The bugs oracle words the emulated kernel's assertions."""

from __future__ import annotations

import pytest

from ksmtrio.errors import KernelBug, NullDereference, VmBug
from ksmtrio.oracles.bugs import BugsOracle
from tests.unit.oracle_world import World


@pytest.mark.parametrize(
    ("bug", "kind", "message"),
    [
        (KernelBug, "BUG_ON", "kernel BUG at f.1: age > 1"),
        (VmBug, "VM_BUG_ON", "kernel BUG at f.1: age > 1"),
        (
            NullDereference,
            "null-dereference",
            "BUG: unable to handle kernel NULL pointer dereference at f.1: age > 1",
        ),
    ],
)
def test_assertion_ends_the_run(bug: type[KernelBug], kind: str, message: str):
    world = World([BugsOracle()])

    async def body():
        await world.rt.cond_resched("f.1")
        raise bug("f.1", "age > 1")

    (finding,) = world.run(task=body)
    assert finding.signature == f"bugs:{kind}@f.1"
    assert finding.message == message
    assert finding.corrupting
    assert world.rt.over


def test_warning_is_noted_and_the_run_goes_on():
    world = World([BugsOracle()])
    done: list[str] = []

    async def body():
        await world.rt.cond_resched("f.1")
        world.rt.notice("WARN_ON", None, "f.1", "count is odd")
        done.append("went on")

    (finding,) = world.run(task=body)
    assert finding.message == "WARNING: at f.1: count is odd"
    assert not finding.corrupting
    assert done


def test_other_notices_are_left_to_others():
    world = World([BugsOracle()])

    async def body():
        world.rt.notice("bad-page", None, "f.1", "BUG: Bad page state")

    assert world.run(task=body) == []
    assert world.rest() == []
