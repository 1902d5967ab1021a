# SPDX-License-Identifier: GPL-2.0-or-later
"""Faults, copy on write, the zero page, follow_page."""

from __future__ import annotations

from errno import EFAULT, ENOMEM

import pytest

from ksmtrio.mm.memory import follow_page
from ksmtrio.mm.mm_types import VM_WRITE, Pte
from ksmtrio.mm.page_flags import PG_UPTODATE
from ksmtrio.mm.swap import get_page, put_page
from ksmtrio.sched.choices import Choices
from ksmtrio.uapi.uaccess import do_page_fault
from tests.kernel_world import AT, KernelWorld, Log, ksm, process, run, turns

MERGED = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))


def test_reading_an_untouched_page_maps_the_zero_page() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.load("A:0") == (0, 0)
        assert w.pte("A:0").special
        assert not w.pte("A:0").write
        assert w.vma("A:0").anon_vma.value is None

    w = run(body, process("A", "-"))
    assert all(page.count.value == 0 for page in w.g.pages.values())


def test_writing_an_untouched_page_maps_a_fresh_zeroed_one() -> None:
    async def body(w: KernelWorld) -> None:
        await w.store("A:0", 5)
        page = w.page("A:0")
        assert w.pte("A:0") == Pte("present", page.pfn, write=True, dirty=True, young=True)
        assert page.mapping.value is not None
        assert page.mapping.value.target is w.vma("A:0").anon_vma.value
        assert page.index.value == w.vma("A:0").linear_page_index(w.address("A:0"))
        assert page.flags.has(PG_UPTODATE)
        assert page.mapcount.value == 0

    w = run(body, process("A", "-"))
    assert w.contents("A") == [5]


def test_writing_to_the_zero_page_replaces_it() -> None:
    async def body(w: KernelWorld) -> None:
        await w.load("A:0")
        await w.store("A:0", 5)
        assert not w.pte("A:0").special

    assert run(body, process("A", "-")).contents("A") == [5]


def test_write_to_a_read_only_page_that_nobody_else_maps_reuses_it() -> None:
    async def body(w: KernelWorld) -> None:
        before = w.pte("A:0").pfn
        await w.store("A:0", 5)
        assert w.pte("A:0") == Pte("present", before, write=True, dirty=True, young=True)

    run(body, process("A", 1, pte="ro"))


def test_reuse_does_not_look_at_the_reference_count() -> None:
    async def body(w: KernelWorld) -> None:
        page = w.page("A:0")
        await get_page(page, AT)
        await w.store("A:0", 5)
        assert w.page("A:0") is page
        await put_page(w.g, page, AT)

    run(body, process("A", 1, pte="ro"))


def test_write_to_a_ksm_page_copies_it() -> None:
    async def body(w: KernelWorld) -> None:
        shared = w.page("A:0")
        await w.store("A:0", 5)
        assert w.page("A:0") is not shared
        assert w.page("A:1") is shared
        assert shared.mapcount.value == 0
        assert shared.count.value == 1

    assert run(body, *MERGED).contents("A") == [5, 7]


def test_ksm_page_is_copied_even_for_its_only_user() -> None:
    async def body(w: KernelWorld) -> None:
        shared = w.page("A:0")
        await w.store("A:0", 5)
        await w.store("A:1", 6)
        assert shared.count.value == 0

    assert run(body, *MERGED).contents("A") == [5, 6]


def test_copying_holds_an_extra_reference_on_the_old_page() -> None:
    async def writer(w: KernelWorld) -> None:
        await w.store("A:0", 5)

    async def observer(w: KernelWorld) -> None:
        w.log.append(w.page("A:1").count.value)

    schedule = turns("writer@do_wp_page.9", "observer", "writer")
    w = KernelWorld(*MERGED, actors=("writer", "observer"), strategy=schedule)
    assert w.go(writer, observer).found == []
    assert w.log == [3]


def test_page_that_goes_ksm_while_a_writer_waits_for_its_lock_is_copied() -> None:
    async def holder(w: KernelWorld) -> None:
        page = w.page("A:0")
        await page.page_lock.lock(AT)
        await w.rt.cond_resched("holder.1")
        word = w.node("B:0").word
        old = page.mapping.value
        await page.mapping.write(AT, word)
        await page.page_lock.unlock(AT)
        await w.rt.cond_resched("holder.2")
        await page.mapping.write(AT, old)

    async def writer(w: KernelWorld) -> None:
        before = w.page("A:0")
        await w.store("A:0", 5)
        w.log.append(w.page("A:0") is before)

    schedule = turns("holder@holder.1", "writer", "holder@holder.2", "writer", "holder")
    parts = (ksm(["B:0", "B:1"]), process("A", 7, pte="ro"), process("B", 8, 8, mergeable=True))
    w = KernelWorld(*parts, actors=("holder", "writer"), strategy=schedule)
    w.go(holder, writer, rest=False)
    assert w.log == [False]


def test_pte_that_changed_during_the_copy_makes_the_copy_surplus() -> None:
    async def writer(w: KernelWorld) -> None:
        await w.store("A:0", 5)
        w.log.append("stored")

    async def changer(w: KernelWorld) -> None:
        cell = w.mm("A").pte(w.address("A:0"))
        ptl = w.mm("A").ptl(w.address("A:0"))
        await ptl.lock(AT)
        await cell.write(AT, cell.value._replace(young=not cell.value.young))
        ptl.unlock(AT)

    log = Log()
    schedule = turns("writer@do_wp_page.9", "changer", "writer")
    w = KernelWorld(*MERGED, actors=("writer", "changer"), strategy=schedule, recorder=log)
    assert w.go(writer, changer).found == []
    labels = [at for at, _, _ in log.operations]
    assert labels.count("do_wp_page.10") == 2
    assert labels.count("do_wp_page.10a") == 1
    assert w.contents("A") == [5, 7]
    assert sum(page.count.value > 0 for page in w.g.pages.values()) == 2


def test_fault_waits_for_the_page_behind_a_migration_entry() -> None:
    async def mover(w: KernelWorld) -> None:
        await w.move("A:0", node=1)
        w.log.append("moved")

    async def reader(w: KernelWorld) -> None:
        w.log.append(await w.load("A:0"))

    schedule = turns("mover@move_to_new_page.1", "reader", "mover@unmap_and_move.17", "mover")
    w = KernelWorld(process("A", 7), actors=("mover", "reader"), strategy=schedule)
    assert w.go(mover, reader).found == []
    assert (0, 7) in w.log


def test_access_outside_every_area_is_a_segmentation_fault() -> None:
    async def body(w: KernelWorld) -> None:
        hole = w.address("A:0") - 4096
        assert await do_page_fault(w.g, w.mm("A"), hole, write=False) == -EFAULT
        assert await do_page_fault(w.g, w.mm("A"), hole, write=True) == -EFAULT

    run(body, process("A", 1))


def test_write_without_permission_is_a_segmentation_fault() -> None:
    async def body(w: KernelWorld) -> None:
        w.vma("A:0")._vm_flags &= ~VM_WRITE
        assert await w.store("A:0", 2) == -EFAULT
        assert await w.load("A:0") == (0, 1)

    run(body, process("A", 1, pte="ro"))


@pytest.mark.parametrize("failing", [0, 1])
def test_write_fault_without_memory_fails_and_leaves_nothing_behind(failing: int) -> None:
    async def body(w: KernelWorld) -> None:
        w.log.append(await w.store("A:0", 5))
        assert not w.rt.me.held

    faults = Choices(faults=[0] * failing + [1])
    w = run(body, process("A", "-"), faults=["enomem"], choices=faults)
    assert w.log == [-ENOMEM]
    assert w.contents("A") == [None]


def test_copy_without_memory_fails_and_gives_its_reference_back() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.store("A:0", 5) == -ENOMEM
        assert w.page("A:0").count.value == 2

    run(body, *MERGED, faults=["enomem"], choices=Choices(faults=[1]))


def test_following_a_page_takes_a_reference_and_never_waits() -> None:
    async def body(w: KernelWorld) -> None:
        vma = w.vma("A:0")
        await w.mm("A").mmap_sem.down_read(AT)
        page = await follow_page(w.g, vma, w.address("A:0"))
        assert page is w.page("A:0")
        assert page.count.value == 2
        await put_page(w.g, page, AT)
        assert await follow_page(w.g, vma, w.address("A:1")) is None
        cell = w.mm("A").pte(w.address("A:1"))
        cell.value = Pte("migration", page.pfn)
        assert await follow_page(w.g, vma, w.address("A:1")) is None
        cell.value = Pte("none")
        await w.mm("A").mmap_sem.up_read(AT)

    run(body, process("A", 1, "-"))


def test_spurious_write_fault_on_a_writable_pte_only_sets_its_bits() -> None:
    async def body(w: KernelWorld) -> None:
        cell = w.mm("A").pte(w.address("A:0"))
        cell.value = cell.value._replace(dirty=False, young=False)
        assert await do_page_fault(w.g, w.mm("A"), w.address("A:0"), write=True) == 0
        assert cell.value.dirty
        assert cell.value.young

    run(body, process("A", 1))
