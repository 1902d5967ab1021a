# SPDX-License-Identifier: GPL-2.0-or-later
"""The contents oracle compares loads with what the address space last stored."""

from __future__ import annotations

import pytest

from ksmtrio.mm.mm_types import PTE_NONE, Pte
from ksmtrio.mm.page_flags import PG_UPTODATE
from ksmtrio.oracles.contents import ContentsOracle
from ksmtrio.units import PAGE_SHIFT
from tests.unit.oracle_world import BASE, MERGED, World

HERE = BASE << PAGE_SHIFT


def attached() -> tuple[World, ContentsOracle]:
    oracle = ContentsOracle()
    world = World([oracle])
    world.attach()
    return world, oracle


def test_start_state_counts_as_stored():
    world, oracle = attached()
    assert world.g.user_access == [oracle]
    oracle.loaded(world.a, HERE, 0, 7, "load.1")
    oracle.loaded(world.a, HERE, 1, 0, "load.1")
    oracle.loaded(world.b, MERGED << PAGE_SHIFT, 0, 42, "load.1")
    assert world.rest() == []


def test_never_written_memory_reads_as_zeroes():
    world, oracle = attached()
    oracle.loaded(world.a, HERE + (1 << PAGE_SHIFT), 0, 0, "load.1")
    assert world.rest() == []


def test_load_of_something_else_is_reported():
    world, oracle = attached()
    oracle.stored(world.a, HERE, 0, 8, "store.1")
    oracle.loaded(world.a, HERE, 0, 7, "load.1")
    (finding,) = world.findings.all()
    assert finding.signature == "contents:wrong-content@load.1"
    assert finding.message == "BUG: wrong content in mm(A) at 0x10000, half 0: expected 8, saw 7"
    assert finding.corrupting


def test_pte_changed_by_another_actor_is_the_conflicting_access():
    world, oracle = attached()
    cell = world.a.pte(HERE)

    async def ksmd():
        await cell.write("replace_page.3d", Pte("present", 1))

    async def reader():
        await world.rt.cond_resched("load.0")
        oracle.loaded(world.a, HERE, 0, 42, "load.1")

    (finding,) = world.run(ksmd=ksmd, reader=reader)
    assert finding.signature == "contents:wrong-content@load.1<-replace_page.3d"
    assert finding.actors == ("reader", "ksmd")


def test_content_changed_by_another_actor_is_the_conflicting_access():
    world, oracle = attached()

    async def other():
        await world.g.pages[0].content[0].write("do_anonymous_page.2", 0)

    async def reader():
        await world.rt.cond_resched("load.0")
        oracle.loaded(world.a, HERE, 0, 0, "load.1")

    (finding,) = world.run(other=other, reader=reader)
    assert finding.signature == "contents:wrong-content@load.1<-do_anonymous_page.2"


def test_unmapped_range_starts_as_zeroes_again():
    world, oracle = attached()
    oracle.unmapped(world.a, HERE, HERE + (1 << PAGE_SHIFT))
    world.a.pte(HERE).value = PTE_NONE
    oracle.loaded(world.a, HERE, 0, 0, "load.1")
    assert world.rest() == []


def test_content_that_differs_at_rest_is_reported():
    world, _ = attached()
    world.g.pages[1].content[1].value = 5
    (finding,) = world.rest()
    assert finding.point == "quiescence"
    assert "expected 0, saw 5" in finding.message


def test_content_lost_with_its_pte_is_reported_at_rest():
    world, _ = attached()
    world.a.pte(HERE).value = PTE_NONE
    (finding,) = world.rest()
    assert "expected 7, saw 0" in finding.message


def test_exited_address_space_is_not_judged():
    world, _ = attached()
    world.a.pte(HERE).value = PTE_NONE
    world.a.mm_users.value = 0
    assert world.rest() == []


def test_zero_page_reads_as_zeroes():
    world, _ = attached()
    world.a.pte((BASE + 2) << PAGE_SHIFT).value = Pte("present", -2, special=True)
    assert world.rest() == []


# -- fork, mremap, swap ------------------------------------------------------------------------


def test_child_inherits_what_the_parent_had_stored():
    world, oracle = attached()
    oracle.inherited(world.a, world.b, HERE)
    oracle.stored(world.a, HERE, 0, 8, "store.1")  # after the fork: not the child's
    oracle.loaded(world.b, HERE, 0, 7, "load.1")
    assert world.findings.all() == []
    oracle.loaded(world.b, HERE, 0, 8, "load.2")
    assert [finding.point for finding in world.findings.all()] == ["load.2"]


def test_moved_page_keeps_its_content_and_leaves_zeroes_behind():
    world, oracle = attached()
    there = HERE + (2 << PAGE_SHIFT)
    oracle.moved(world.a, HERE, there)
    oracle.loaded(world.a, there, 0, 7, "load.1")
    oracle.loaded(world.a, HERE, 0, 0, "load.1")
    assert world.findings.all() == []
    oracle.loaded(world.a, there, 0, 0, "load.2")
    assert [finding.point for finding in world.findings.all()] == ["load.2"]


def swapped_out() -> World:
    world, _ = attached()
    world.a.pte(HERE).value = Pte("swap", 1)
    return world


def test_swapped_out_content_is_looked_for_in_the_swap_cache():
    world = swapped_out()
    page = world.g.pages[0]
    world.g.swapper_space.slot(1).value = page
    page.flags.value |= PG_UPTODATE
    assert world.rest() == []
    page.content[0].value = 6
    (finding,) = world.rest()
    assert "expected 7, saw 6" in finding.message


@pytest.mark.parametrize("cached", [True, False])
def test_swapped_out_content_is_on_the_disk_until_it_has_been_read_in(*, cached: bool):
    world = swapped_out()
    if cached:
        world.g.swapper_space.slot(1).value = world.g.pages[2]
    world.g.swap.disk[1][0].value = 7
    assert world.rest() == []
    world.g.swap.disk[1][0].value = 9
    (finding,) = world.rest()
    assert "expected 7, saw 9" in finding.message
