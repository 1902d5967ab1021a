# SPDX-License-Identifier: GPL-2.0-or-later
"""The stable tree oracle judges nodes, items and counters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ksmtrio.mm.ksm_types import STABLE_FLAG, UNSTABLE_FLAG, RmapItem, StableNode
from ksmtrio.mm.mm_types import KSM_NULL
from ksmtrio.mm.page_flags import PG_LOCKED
from ksmtrio.oracles.stable_tree import StableTreeOracle
from ksmtrio.sched.actor_state import ActorState
from ksmtrio.units import PAGE_SHIFT
from tests.unit.oracle_world import MERGED, World

AT = "memory_block_change_state.4"


def world_of() -> World:
    world = World([StableTreeOracle()])
    world.attach()
    return world


def offlined(world: World, number: int):
    async def body():
        await world.memory_blocks[number].state.write(AT, "offline")

    return body


def test_sound_machine_is_silent_at_rest():
    assert world_of().rest() == []


# -- when a block goes offline -----------------------------------------------------------------


def test_node_of_offlined_frame_is_noted_once_and_the_run_goes_on():
    world = world_of()
    world.node.kpfn.value = 6
    world.g.pages[1].mapping.value = None
    (finding,) = world.run(hotplug=offlined(world, 1))
    assert finding.signature == f"stable_tree:node-of-offlined-pfn@{AT}"
    assert finding.message == (
        f"BUG: start/stable_node#1 names pfn 6 of offline section(1), seen in {AT}"
    )
    assert not finding.corrupting
    assert world.rest() == [finding]


def test_node_that_remembers_the_page_object_is_judged_alike():
    world = world_of()
    world.node.kpfn.value = world.g.pages[6]
    world.g.pages[1].mapping.value = None
    (finding,) = world.run(hotplug=offlined(world, 1))
    assert finding.kind == "node-of-offlined-pfn"


def test_page_object_as_kpfn_is_sound():
    world = world_of()
    world.node.kpfn.value = world.g.pages[1]
    assert world.run(hotplug=offlined(world, 1)) == []
    assert world.rest() == []


def test_node_of_block_that_is_offline_at_rest_is_noted():
    world = world_of()
    world.node.kpfn.value = 6
    world.g.pages[1].mapping.value = None
    world.memory_blocks[1].state.value = "offline"
    (finding,) = world.rest()
    assert finding.signature == "stable_tree:node-of-offlined-pfn@quiescence"


def test_node_elsewhere_is_left_alone():
    world = world_of()
    assert world.run(hotplug=offlined(world, 1)) == []


def test_dangling_key_is_reported_when_a_block_goes_offline():
    world = world_of()
    world.node.die("freed", "remove_node_from_stable_tree.3")
    world.g.ksm._stable_root.clear()
    (finding,) = world.run(hotplug=offlined(world, 1))
    assert finding.signature == (f"stable_tree:dangling-key@{AT}<-remove_node_from_stable_tree.3")
    assert finding.corrupting


def test_locked_page_may_be_on_the_move_when_a_block_goes_offline():
    world = world_of()
    page = world.g.pages[2]
    page.mapping.value = world.node.word
    page.count.value = 1
    page.flags.value = PG_LOCKED
    assert world.run(hotplug=offlined(world, 1)) == []


def test_keys_are_not_judged_while_somebody_holds_the_mutex():
    world = world_of()
    world.node.kpfn.value = 0

    async def body():
        await world.g.ksm.ksm_thread_mutex.lock("ksm_memory_callback.1")
        await offlined(world, 1)()
        await world.node.kpfn.write("ksm_migrate_page.3", 1)
        await world.g.ksm.ksm_thread_mutex.unlock("ksm_memory_callback.5")

    assert world.run(hotplug=body) == []


# -- when ksm_thread_mutex becomes free ----------------------------------------------------------


def batch(world: World, *, spoil: Callable[[World], None], mend: bool = False):
    """Return the body of an actor that spoils something under the mutex."""
    mutex = world.g.ksm.ksm_thread_mutex

    async def body():
        before = world.g.ksm.ksm_pages_shared.value
        await mutex.lock("ksm_scan_thread.2")
        spoil(world)
        await world.rt.cond_resched("ksm_do_scan.1")
        if mend:
            world.g.ksm.ksm_pages_shared.value = before
        await mutex.unlock("ksm_scan_thread.4")

    return body


def miscount(world: World) -> None:
    world.g.ksm.ksm_pages_shared.value += 1


def test_structures_are_judged_when_the_mutex_becomes_free():
    world = world_of()
    (finding,) = world.run(ksmd=batch(world, spoil=miscount))
    assert finding.signature == "stable_tree:pages-shared-mismatch@ksm_scan_thread.4"


def test_what_is_mended_before_the_unlock_is_silent():
    world = world_of()
    assert world.run(ksmd=batch(world, spoil=miscount, mend=True)) == []


def test_nothing_is_judged_while_a_second_holder_is_inside():
    world = world_of()
    mutex = world.g.ksm.ksm_thread_mutex
    mutex._holders.append(ActorState(9, "other", 0))
    world.run(ksmd=batch(world, spoil=miscount))
    assert "pages-shared-mismatch" not in [f.kind for f in world.findings.all()]


def test_content_that_migration_is_copying_is_not_compared():
    world = world_of()
    page = world.use(2)
    page.count.value = 1
    second = StableNode(world.rt, world.g.ksm, {})
    second.kpfn.value = 2
    page.mapping.value = second.word
    world.g.ksm._stable_root.append(second)  # content 0 after 42
    page.flags.value |= PG_LOCKED
    assert world.rest() == []
    page.flags.value &= ~PG_LOCKED
    (finding,) = world.rest()
    assert finding.kind == "stable-tree-order"


def too_old(world: World) -> None:
    """Leave an unstable item of two scans ago."""
    slot = world.g.ksm._mm_list[0]
    item = RmapItem(world.rt, world.g.ksm, world.a, (0x21 << PAGE_SHIFT) | UNSTABLE_FLAG | 3)
    slot.rmap_list.value = (*slot.rmap_list.value, item)
    world.g.ksm.ksm_rmap_items.value += 1
    world.g.ksm.ksm_pages_unshared.value += 1
    world.g.ksm.cursor.seqnr.value = 5


# -- at rest -----------------------------------------------------------------------------------


def wrong_kpfn(world: World) -> None:
    world.node.kpfn.value = 0


def unlinked(world: World) -> None:
    stranger = StableNode(world.rt, world.g.ksm, {})
    stranger.kpfn.value = 2
    page = world.use(2)
    page.count.value = 1
    page.mapping.value = stranger.word


def null_node(world: World) -> None:
    page = world.use(2)
    page.count.value = 1
    page.mapping.value = KSM_NULL


def second_node(world: World, content: int) -> None:
    """Add a live node without items at the end of the tree."""
    node = StableNode(world.rt, world.g.ksm, {})
    node.kpfn.value = 2
    page = world.use(2)
    page.count.value = 1
    page.content[0].value = content
    page.mapping.value = node.word
    world.g.ksm._stable_root.append(node)


def out_of_order(world: World) -> None:
    second_node(world, 41)


def equal_nodes(world: World) -> None:
    second_node(world, 42)


def freed_item(world: World) -> None:
    item = RmapItem(world.rt, world.g.ksm, world.a, STABLE_FLAG)
    item.die("freed", "remove_trailing_rmap_items.1")
    world.node._hlist = (item, *world.node._hlist)
    world.g.ksm.ksm_pages_sharing.value += 1


def both_flags(world: World) -> None:
    world.item._address |= UNSTABLE_FLAG
    world.g.ksm.ksm_pages_unshared.value += 1


def on_no_list(world: World) -> None:
    world.node._hlist = tuple(item for item in world.node._hlist if item is not world.item)
    world.g.ksm.ksm_pages_sharing.value -= 1


def wrong_head(world: World) -> None:
    world.item._head = StableNode(world.rt, world.g.ksm, {})


def on_list_twice(world: World) -> None:
    world.node._hlist = (world.item, *world.node._hlist)
    world.g.ksm.ksm_pages_sharing.value += 1


def shared_off(world: World) -> None:
    world.g.ksm.ksm_pages_shared.value = 2


def sharing_off(world: World) -> None:
    world.g.ksm.ksm_pages_sharing.value = 0


def unshared_off(world: World) -> None:
    world.g.ksm.ksm_pages_unshared.value = 1


def items_off(world: World) -> None:
    world.g.ksm.ksm_rmap_items.value = 3


def hold_lost(world: World) -> None:
    assert world.item._anon_vma is not None
    world.item._anon_vma.ksm_refcount.value = 0


def held_and_freed(world: World) -> None:
    assert world.item._anon_vma is not None
    world.item._anon_vma.die("freed", "anon_vma_unlink.1")


def freed_node(world: World) -> None:
    world.g.pages[1].mapping.value = None
    world.node.die("freed", "remove_node_from_stable_tree.3")


def no_longer_mergeable(world: World) -> None:
    world.a._vmas[1]._vm_flags = world.a._vmas[0]._vm_flags


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (wrong_kpfn, "kpfn-mismatch"),
        (unlinked, "node-not-in-tree"),
        (null_node, "ksm-page-without-node"),
        (out_of_order, "stable-tree-order"),
        (equal_nodes, "stable-tree-order"),
        (freed_node, "freed-node-in-tree"),
        (freed_item, "freed-item-on-hlist"),
        (both_flags, "item-flags"),
        (too_old, "item-age"),
        (on_no_list, "item-on-wrong-hlist"),
        (wrong_head, "item-on-wrong-hlist"),
        (on_list_twice, "item-on-wrong-hlist"),
        (shared_off, "pages-shared-mismatch"),
        (sharing_off, "pages-sharing-mismatch"),
        (unshared_off, "pages-unshared-mismatch"),
        (items_off, "rmap-items-mismatch"),
        (hold_lost, "anon_vma-refcount-mismatch"),
        (held_and_freed, "anon_vma-freed-while-held"),
        (no_longer_mergeable, "ksm-page-in-unmergeable-vma"),
    ],
)
def test_bad_state_at_rest_is_reported(spoil: Callable[[World], None], kind: str):
    world = world_of()
    spoil(world)
    (finding,) = world.rest()
    assert finding.kind == kind
    assert finding.point == "quiescence"


def test_item_on_hlist_without_flag_is_reported():
    world = world_of()
    world.item._address = MERGED << PAGE_SHIFT
    assert world.item._anon_vma is not None
    world.item._anon_vma.ksm_refcount.value = 0
    (finding,) = world.rest()
    assert finding.kind == "item-not-stable"


def test_what_does_no_harm_is_only_noted():
    for spoil in (null_node, no_longer_mergeable):
        world = world_of()
        spoil(world)
        (finding,) = world.rest()
        assert not finding.corrupting


def test_stale_node_is_normal():
    world = world_of()
    page = world.g.pages[1]
    page.count.value = 0
    page.mapping.value = None
    assert world.rest() == []


def test_stale_node_does_not_count_for_the_order():
    world = world_of()
    second_node(world, 41)
    world.g.pages[1].mapping.value = None
    assert world.rest() == []


def test_unstable_items_are_counted():
    world = world_of()
    item = RmapItem(world.rt, world.g.ksm, world.a, (MERGED + 1) << PAGE_SHIFT | UNSTABLE_FLAG)
    slot = world.g.ksm._mm_list[0]
    slot.rmap_list.value = (*slot.rmap_list.value, item)
    world.g.ksm.ksm_pages_unshared.value = 1
    world.g.ksm.ksm_rmap_items.value = 3
    assert world.rest() == []
