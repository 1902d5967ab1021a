# SPDX-License-Identifier: GPL-2.0-or-later
"""The contract oracle notes answers and end states that the scenario did not expect."""

from __future__ import annotations

import pytest

from ksmtrio.oracles.contract import ContractOracle
from tests.unit.oracle_world import World


@pytest.mark.parametrize("kind", ["unexpected-answer", "unexpected-end"])
def test_difference_is_noted_and_the_run_goes_on(kind: str):
    world = World([ContractOracle()])
    done: list[str] = []

    async def body():
        await world.rt.cond_resched("mbind")
        world.rt.notice(kind, None, "mbind", "expected 0, got -EIO")
        done.append("went on")

    (finding,) = world.run(numa=body)
    assert finding.signature == f"contract:{kind}@mbind"
    assert "expected 0, got -EIO" in finding.message
    assert not finding.corrupting
    assert done


def test_expected_answers_are_silent():
    world = World([ContractOracle()])

    async def body():
        await world.rt.cond_resched("mbind")

    assert world.run(numa=body) == []
    assert world.rest() == []
