# SPDX-License-Identifier: GPL-2.0-or-later
"""The contract oracle notes answers and end states that the scenario did not expect."""

from __future__ import annotations

from errno import EACCES, EBUSY, EDOM, ENOENT
from importlib import import_module
from pkgutil import iter_modules

import pytest

from ksmtrio import uapi
from ksmtrio.oracles.base import Finding
from ksmtrio.oracles.contract import ERRNOS, ContractOracle
from ksmtrio.uapi.answer import Answer
from ksmtrio.units import PAGE_SHIFT
from tests.kernel_world import KernelWorld, notifier, process
from tests.unit.oracle_world import BASE, MERGED, World

HERE = BASE << PAGE_SHIFT
SHARED = MERGED << PAGE_SHIFT


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


# -- answers and their interfaces ----------------------------------------------------------------


def answered(world: World, *answers: Answer, alone: bool = True) -> list[Finding]:
    async def body():
        await world.rt.cond_resched("call.1")
        for answer in answers:
            world.rt.notice("answered", answer, "call.1", "")

    async def other():
        await world.rt.cond_resched("other.1")

    return world.run(task=body) if alone else world.run(task=body, other=other)


def test_errno_that_the_interface_does_not_know_is_noted():
    world = World([ContractOracle()])
    (finding,) = answered(world, Answer("munmap", (), None, EDOM))
    assert finding.signature == "contract:errno-not-in-interface@munmap"
    assert "munmap answered -EDOM" in finding.message
    assert not finding.corrupting


def test_each_file_has_an_interface_of_its_own():
    world = World([ContractOracle()])
    busy = [Answer("write", (f"/sys/x/{name}",), None, EBUSY) for name in ("state", "run")]
    (finding,) = answered(world, *busy)
    assert "write run answered -EBUSY" in finding.message


def test_success_and_known_errnos_are_silent():
    world = World([ContractOracle()])
    every = [
        Answer(call.split()[0], (f"/sys/{call.split()[-1]}",), None, number)
        for call, known in ERRNOS.items()
        for number in known
    ]
    assert answered(world, Answer("munmap", (), 0, 0), *every) == []


def test_interface_of_every_call_is_written_down():
    calls = [
        name
        for module in iter_modules(uapi.__path__)
        for name, call in vars(import_module(f"ksmtrio.uapi.{module.name}")).items()
        if hasattr(call, "__wrapped__")
    ]
    assert "move_pages" in calls
    assert {name.rstrip("_") for name in calls} <= set(ERRNOS)


def moved(world: World, *statuses: tuple[int, int], alone: bool = True) -> list[Finding]:
    args = (world.a, [address for address, _ in statuses], None, 0)
    answer = Answer("move_pages", args, [status for _, status in statuses], 0)
    return answered(world, answer, alone=alone)


def test_statuses_that_agree_with_where_pages_are_are_silent():
    world = World([ContractOracle()])
    hole = HERE + (1 << PAGE_SHIFT)
    busy = [(HERE, -EBUSY), (HERE, -EACCES)]
    assert moved(world, (HERE, 0), (SHARED, -ENOENT), (SHARED, 0), (hole, -ENOENT), *busy) == []


@pytest.mark.parametrize(
    ("address", "status"),
    [(HERE, 1), (HERE, -ENOENT), (SHARED, 1), (HERE + (1 << PAGE_SHIFT), 0)],
)
def test_status_that_disagrees_with_where_the_page_is_is_noted(address: int, status: int):
    (finding,) = moved(World([ContractOracle()]), (address, status))
    assert finding.signature == "contract:status-disagrees@move_pages"
    assert not finding.corrupting


def test_status_is_not_compared_while_somebody_else_may_move_pages():
    assert moved(World([ContractOracle()]), (HERE, 1), alone=False) == []


def test_status_that_the_interface_does_not_know_is_noted():
    (finding,) = moved(World([ContractOracle()]), (HERE, -EDOM))
    assert finding.signature == "contract:status-not-in-interface@move_pages"


def test_veto_may_have_any_errno():
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == -EDOM

    world = KernelWorld(notifier("driver", veto=True, errno="EDOM")).go(body)
    assert world.found == []


def test_answers_of_a_scenario_are_judged():
    """A page whose node changes under the query's hands, as only a bug could do it."""

    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await w.query("A:0") == [0]
        w.rt.marks["mmput.1"] = [lambda _actor, _at: setattr(page, "nid", 1)]
        assert await w.query("A:0") == [0]

    world = KernelWorld(process("A", 1)).go(body, rest=False)
    assert world.found == ["contract:status-disagrees"]
