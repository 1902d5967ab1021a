# SPDX-License-Identifier: GPL-2.0-or-later
"""Fork: what a child gets, what its parent loses, lack of memory, and races with migration."""

from __future__ import annotations

from errno import ENOMEM

import pytest

from ksmtrio.mm.mm_types import MMF_VM_MERGEABLE, VM_LOCKED, Pte
from ksmtrio.mm.swap_types import SWAP_HAS_CACHE
from ksmtrio.mm.swapfile import mmlist_add
from ksmtrio.sched.choices import Choices
from tests.kernel_world import AT, KernelWorld, Log, ksm, machine, process, run, turns, vma
from tests.swap_world import swap_out, with_device

ORDINARY = process("A", 1, 2, "-")
MERGED = (
    machine(pages_per_block=16),
    ksm(["A:0", "B:0"]),
    process("A", 7, 1, mergeable=True),
    process("B", 7, 2, mergeable=True),
)


def test_child_maps_the_pages_of_its_parent_and_both_read_only() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.fork("A", "C") == 0
        assert w.page("C:0") is w.page("A:0")
        assert w.page("A:0").count.value == 2
        assert w.frames("A") == w.frames("C")
        assert (w.pte("A:0").write, w.pte("C:0").write) == (False, False)
        assert (w.pte("A:0").young, w.pte("C:0").young) == (True, False)
        assert w.pte("C:0").dirty
        assert w.pte("C:2").none

    w = run(body, ORDINARY)
    assert (w.contents("A"), w.contents("C")) == ([1, 2, None], [1, 2, None])


def test_each_side_sees_its_own_stores_only() -> None:
    async def body(w: KernelWorld) -> None:
        await w.fork("A", "C")
        assert await w.store("A:0", 5) == 0
        assert await w.store("C:1", 6) == 0
        assert await w.store("C:2", 9) == 0
        assert await w.load("C:0") == (0, 1)

    w = run(body, ORDINARY)
    assert (w.contents("A"), w.contents("C")) == ([5, 2, None], [1, 6, 9])


def test_last_owner_of_a_forked_page_may_write_to_it_in_place() -> None:
    async def body(w: KernelWorld) -> None:
        await w.fork("A", "C")
        page = w.page("A:0")
        await w.exit("A")
        assert await w.store("C:0", 4) == 0
        assert w.page("C:0") is page

    run(body, ORDINARY)


def test_area_of_the_child_is_behind_its_parents_on_the_same_list() -> None:
    async def body(w: KernelWorld) -> None:
        await w.mm("A").mmap_sem.down_write(AT)
        parent = w.vma("A:0")
        parent.vm_flags |= VM_LOCKED
        parent.vm_policy = (1,)
        await w.mm("A").mmap_sem.up_write(AT)
        await w.fork("A", "C")
        child = w.vma("C:0")
        assert parent.anon_vma.value is not None
        assert parent.anon_vma.value._head == [parent, child]
        assert child._vm_flags == parent._vm_flags & ~VM_LOCKED
        assert (child._vm_pgoff, child._vm_policy) == (parent._vm_pgoff, (1,))

    run(body, ORDINARY)


def test_area_without_anon_vma_is_left_to_the_childs_own_faults() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.load("A:0") == (0, 0)
        await w.fork("A", "C")
        assert w.pte("A:0").special
        assert w.pte("C:0").none
        assert await w.load("C:0") == (0, 0)

    run(body, process("A", "-"))


def test_zero_page_in_a_touched_area_is_copied_without_a_count() -> None:
    async def body(w: KernelWorld) -> None:
        await w.load("A:2")
        await w.fork("A", "C")
        assert w.pte("C:2").special
        assert await w.store("C:2", 3) == 0

    assert run(body, ORDINARY).contents("A") == [1, 2, 0]


def test_child_of_a_registered_parent_is_registered_and_found_by_ksmd() -> None:
    async def body(w: KernelWorld) -> None:
        await w.fork("A", "C")
        assert w.mm("C").flags.has(MMF_VM_MERGEABLE)
        assert [slot.mm.label for slot in w.ksm._mm_list if slot.mm] == ["A", "B", "C"]
        assert w.frames("C") == w.frames("A")
        assert w.page("A:0").mapcount.value == 2
        assert w.counters() == (1, 1, 0, 0)
        await w.scan()
        assert w.counters()[:2] == (1, 2)

    w = run(body, *MERGED)
    assert w.contents("C") == [7, 1]


def test_child_of_an_unregistered_parent_is_not_registered() -> None:
    async def body(w: KernelWorld) -> None:
        await w.fork("A", "C")
        assert not w.mm("C").flags.has(MMF_VM_MERGEABLE)

    run(body, ORDINARY)


def test_swap_entry_is_held_by_both() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0", "A:1")
        await w.fork("A", "C")
        assert w.pte("C:0") == w.pte("A:0")
        assert w.g.swap._swap_map[w.pte("A:0").pfn] & ~SWAP_HAS_CACHE == 2
        assert [mm.label for mm in w.g.swap._mmlist] == ["A", "C"]
        assert await w.load("C:0") == (0, 1)
        assert await w.store("A:1", 5) == 0
        assert await w.load("C:1") == (0, 2)

    with_device(body, ORDINARY)


@pytest.mark.parametrize("attempt", range(4))
def test_fork_without_memory_leaves_nothing_behind(attempt: int) -> None:
    """The mm, A's mm_slot, the first vma, the child's page-table page."""

    async def body(w: KernelWorld) -> None:
        counts = [page.count.value for page in w.g.pages.values()]
        assert await w.fork("A", "C") == -ENOMEM
        assert [page.count.value for page in w.g.pages.values()] == counts
        assert all(mm.dead for mm in w.g.processes if mm.label == "C")
        assert [slot.mm.label for slot in w.ksm._mm_list if slot.mm] == ["A", "B"]
        assert await w.store("A:1", 3) == 0

    choices = Choices(faults=[0] * attempt + [1])
    assert run(body, *MERGED, faults=["enomem"], choices=choices).contents("A") == [7, 3]


def test_fork_that_fails_half_way_unwinds_the_ptes_it_had_copied() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.fork("A", "C") == -ENOMEM
        assert w.page("A:0").mapcount.value == 0
        assert w.page("A:0").count.value == 1

    two = "\n".join([process("A", 1), vma([2])])
    run(body, two, faults=["enomem"], choices=Choices(faults=[0, 0, 0, 1]))


def test_locks_are_dropped_after_four_copies_when_somebody_waits() -> None:
    async def forker(w: KernelWorld) -> None:
        await w.fork("A", "C")

    async def holder(w: KernelWorld) -> None:
        ptl = w.mm("A").ptl(w.address("A:0"))
        await ptl.lock("holder.1")
        child = w.g.processes[-1]
        w.log.extend(child.pte(a).value.present for a in w.machine.addresses["A"])
        ptl.unlock("holder.1")

    w = KernelWorld(
        process("A", *range(1, 7)),
        actors=("forker", "holder"),
        strategy=turns("forker@copy_one_pte.3.3", "holder", "forker"),
    )
    assert w.go(forker, holder).found == []
    assert w.log == [True] * 4 + [False] * 2


@pytest.mark.parametrize(
    ("schedule", "copied"),
    [
        (("hotplug@move_to_new_page.2", "forker"), "migration"),
        (("hotplug@remove_migration_pte.1", "forker@copy_pte_range.3.1", "hotplug"), "present"),
    ],
)
def test_fork_during_a_migration_misses_no_entry(schedule: tuple[str, ...], copied: str) -> None:
    """An entry copied in time is found on the child's list; a later fork copies a present pte."""

    async def hotplug(w: KernelWorld) -> None:
        assert await w.offline(1) == 0

    async def forker(w: KernelWorld) -> None:
        await w.fork("A", "C")
        w.log.append(w.pte("C:0").kind)

    w = KernelWorld(
        process("A", 5, block=1), actors=("hotplug", "forker"), strategy=turns(*schedule)
    )
    assert w.go(hotplug, forker).found == []
    assert w.log == [copied]
    assert w.contents("A") == w.contents("C") == [5]
    assert w.page("A:0") is w.page("C:0")
    assert w.page("A:0").nid == 0


def test_write_entry_of_a_migration_becomes_a_read_entry_in_both() -> None:
    async def hotplug(w: KernelWorld) -> None:
        assert await w.offline(1) == 0

    async def forker(w: KernelWorld) -> None:
        assert w.pte("A:0").write
        await w.fork("A", "C")
        w.log.append((w.pte("A:0"), w.pte("C:0")))

    w = KernelWorld(
        process("A", 5, block=1),
        actors=("hotplug", "forker"),
        strategy=turns("hotplug@move_to_new_page.2", "forker", "hotplug"),
    )
    assert w.go(hotplug, forker).found == []
    entry = Pte("migration", w.log[0][0].pfn)
    assert w.log == [(entry, entry)]
    assert not w.pte("A:0").write


def test_fork_of_a_ksm_page_on_the_move_is_found_by_the_second_pass() -> None:
    async def hotplug(w: KernelWorld) -> None:
        assert await w.offline(1) == 0

    async def forker(w: KernelWorld) -> None:
        await w.fork("A", "C")
        w.log.append(w.pte("C:0").kind)

    w = KernelWorld(
        ksm(["A:0", "B:0"]),
        process("A", 7, mergeable=True, block=1),
        process("B", 7, mergeable=True, block=1),
        actors=("hotplug", "forker"),
        strategy=turns("hotplug@move_to_new_page.2", "forker", "hotplug"),
    )
    assert w.go(hotplug, forker).found == []
    assert w.log == ["migration"]
    assert w.page("A:0") is w.page("C:0") is w.page("B:0")


def test_lock_of_the_child_is_taken_before_the_parents() -> None:
    log = Log()

    async def body(w: KernelWorld) -> None:
        await w.fork("A", "C")

    run(body, ORDINARY, recorder=log)
    taken = [target for at, _, target in log.operations if at.startswith("copy_pte_range.3.2")]
    assert taken[:2] == ["mm(C).ptl[0x0]", "mm(A).ptl[0x0]"]
    semaphores = [target for at, _, target in log.operations if at.startswith("dup_mmap.1")]
    assert semaphores == ["mm(A).mmap_sem", "mm(C).mmap_sem"]


@pytest.mark.parametrize("fixed", [False, True])
def test_migration_entry_ties_a_parent_that_is_on_no_list_to_its_child(*, fixed: bool) -> None:
    """Neither gets to swapoff's list any more, until one of them exits."""

    async def hotplug(w: KernelWorld) -> None:
        assert await w.offline(1) == 0

    async def forker(w: KernelWorld) -> None:
        await w.fork("A", "C")
        rings = [[mm.label for mm in ring] for ring in w.g.swap._mmlist_rings]
        assert rings == ([] if fixed else [["A", "C"]])
        await mmlist_add(w.g, w.mm("A"), AT)
        w.log.append([mm.label for mm in w.g.swap._mmlist])
        await w.exit("C")
        await mmlist_add(w.g, w.mm("A"), AT)
        w.log.append([mm.label for mm in w.g.swap._mmlist])

    w = KernelWorld(
        process("A", 5, block=1),
        actors=("hotplug", "forker"),
        kernel="latest-fixes" if fixed else "v2.6.33",
        strategy=turns("hotplug@move_to_new_page.2", "forker", "hotplug"),
    )
    assert w.go(hotplug, forker).found == []
    assert w.log == ([["A"], ["A"]] if fixed else [[], ["A"]])
