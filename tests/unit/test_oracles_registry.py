# SPDX-License-Identifier: GPL-2.0-or-later
"""All oracles together: fixed order, no state of their own between runs, and read-only."""

from __future__ import annotations

from ksmtrio.mm.mm_types import Pte
from ksmtrio.oracles.registry import ORACLES, make_oracles
from ksmtrio.units import PAGE_SHIFT
from tests.unit.oracle_world import BASE, World


def test_names_are_the_oracles_own_and_in_fixed_order():
    assert list(ORACLES) == [
        "contents",
        "stable_tree",
        "frames",
        "slab",
        "page_state",
        "rmap",
        "locks",
        "bugs",
        "progress",
        "contract",
    ]
    for name, oracle in zip(ORACLES, make_oracles(), strict=True):
        assert oracle.name == name
        assert oracle.description
        assert "\n" not in oracle.description


def test_each_execution_gets_oracles_of_its_own():
    first, second = make_oracles(), make_oracles()
    assert not any(a is b for a, b in zip(first, second, strict=True))


def test_good_state_is_silent():
    world = World()
    assert world.rest() == []


def test_judging_twice_changes_nothing():
    world = World()
    before = world.dump()
    world.attach()
    assert world.dump() == before
    first = world.rest()
    assert world.dump() == before
    assert world.rest() == first
    assert world.dump() == before


def test_judging_a_bad_state_twice_changes_nothing_and_adds_no_finding():
    world = World()
    world.attach()
    world.take_offline(1)
    world.memory_blocks[1].state.value = "offline"
    world.b.pte(BASE << PAGE_SHIFT).value = Pte("present", 6, write=True)
    world.g.pages[0].count.value = 5
    world.g.pages[1].content[0].value = 1
    world.node.kpfn.value = 5
    world.g.ksm.ksm_pages_shared.value = 9
    before = world.dump()
    first = [finding.signature for finding in world.rest()]
    assert len(first) >= 5
    assert world.dump() == before
    assert [finding.signature for finding in world.rest()] == first
    assert world.dump() == before


def test_watching_a_run_changes_nothing_in_it():
    def history(world: World) -> tuple[list[str], int]:
        cell = world.a.pte(BASE << PAGE_SHIFT)
        page = world.g.pages[0]

        async def body():
            await cell.write("f.1", cell.value._replace(young=True))
            await page.count.inc("f.2")
            await page.count.dec("f.3")

        world.run(task=body)
        return world.dump(), world.rt.points

    assert history(World()) == history(World([]))
