# SPDX-License-Identifier: GPL-2.0-or-later
"""The rmap oracle follows every pte back from its page."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ksmtrio.mm.mm_types import KSM_NULL, AnonVma, Pte, Vma
from ksmtrio.oracles.rmap import RmapOracle
from ksmtrio.units import PAGE_SHIFT
from tests.kernel_world import KernelWorld, ksm, process
from tests.unit.oracle_world import BASE, MERGED, World

HERE = BASE << PAGE_SHIFT
SHARED = MERGED << PAGE_SHIFT


def world_of() -> World:
    return World([RmapOracle()])


def test_sound_machine_is_silent():
    assert world_of().rest() == []


# -- ordinary pages ----------------------------------------------------------------------------


def anon_vma_of(world: World, number: int = 0) -> AnonVma:
    anon_vma = world.a._vmas[number].anon_vma.value
    assert anon_vma is not None
    return anon_vma


def unlinked(world: World) -> None:
    anon_vma_of(world)._head.clear()


def other_index(world: World) -> None:
    world.g.pages[0].index.value += 1


def other_address(world: World) -> None:
    cell = world.a.pte(HERE)
    world.a.pte(HERE + (1 << PAGE_SHIFT)).value = cell.value
    cell.value = Pte("none")


def other_mm(world: World) -> None:
    world.b.pte(HERE).value = Pte("present", 0)


@pytest.mark.parametrize("spoil", [unlinked, other_index, other_address, other_mm])
def test_pte_that_an_ordinary_page_does_not_lead_to_is_reported(spoil: Callable[[World], None]):
    world = world_of()
    spoil(world)
    (finding,) = world.rest()
    assert finding.signature == "rmap:unfindable-mapping@quiescence"
    assert finding.corrupting


def test_forked_vma_is_found_through_the_anon_vma_it_shares():
    world = world_of()
    other_mm(world)
    vma = world.b._vmas[0]
    vma.anon_vma.value = anon_vma_of(world)
    anon_vma_of(world)._head.append(vma)
    assert world.rest() == []


def test_moved_vma_keeps_the_page_numbers_of_the_old_place():
    world = world_of()
    there = 0x80 << PAGE_SHIFT
    moved = Vma(world.rt, world.a, there, there + (4 << PAGE_SHIFT), flags=0, pgoff=BASE)
    anon_vma_of(world)._head[:] = [moved]
    world.a.pte(there).value = world.a.pte(HERE).value
    world.a.pte(HERE).value = Pte("none")
    assert world.rest() == []


def test_word_that_names_nothing_alive_is_left_to_others():
    world = world_of()
    anon_vma_of(world).die("freed", "anon_vma_unlink.1")
    world.g.pages[1].mapping.value = KSM_NULL
    assert world.rest() == []


# -- KSM pages ---------------------------------------------------------------------------------


def item_gone(world: World) -> None:
    world.node._hlist = tuple(item for item in world.node._hlist if item is not world.item)


def item_elsewhere(world: World) -> None:
    world.item._address += 1 << PAGE_SHIFT


def vma_unlinked(world: World) -> None:
    anon_vma_of(world, 1)._head.clear()


@pytest.mark.parametrize("spoil", [item_gone, item_elsewhere, vma_unlinked])
def test_pte_that_no_item_leads_to_is_noted(spoil: Callable[[World], None]):
    world = world_of()
    spoil(world)
    (finding,) = world.rest()
    assert finding.signature == "rmap:unfindable-ksm-mapping@quiescence"
    assert f"mm(A) at {SHARED:#x}" in finding.message
    assert not finding.corrupting


def test_fork_of_a_merged_page_is_found_through_the_parents_item():
    world = world_of()
    item_gone(world)
    vma = world.a._vmas[1]
    anon_vma = world.b._vmas[1].anon_vma.value
    assert anon_vma is not None
    anon_vma._head.append(vma)  # as if A were a fork of B
    assert world.rest() == []


# -- by a scenario -----------------------------------------------------------------------------


def test_l6_a_child_whose_parents_item_is_gone_cannot_be_found():
    """The parent exits; ksmd cleans its slot before it has looked at the child."""
    world = KernelWorld(
        ksm(["A:0", "B:0"], run=1),
        process("A", 7, mergeable=True),
        process("B", 7, mergeable=True),
        '[[process]]\nname = "child"\nforked_from = "A"',
    )

    async def body(w: KernelWorld) -> None:
        await w.exit("A")
        await w.batch(1)

    world.go(body)
    assert world.found == ["rmap:unfindable-ksm-mapping"]
    assert "mm(child)" in world.findings.all()[0].message


def test_a_full_scan_repairs_it():
    world = KernelWorld(
        ksm(["A:0", "B:0"], run=1),
        process("A", 7, mergeable=True),
        process("B", 7, mergeable=True),
        '[[process]]\nname = "child"\nforked_from = "A"',
    )

    async def body(w: KernelWorld) -> None:
        await w.exit("A")
        await w.scan(2)

    assert world.go(body).found == []
