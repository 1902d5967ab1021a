# SPDX-License-Identifier: GPL-2.0-or-later
"""move_pages(2): its statuses, one a page; those of whole calls as a kernel 2.6.33.3 wrote them."""

from __future__ import annotations

from errno import EACCES, EBUSY, EFAULT, ENODEV, ENOENT, ENOMEM

from ksmtrio.mm.migrate_syscalls import do_pages_move, do_pages_stat
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import KernelWorld, ksm, machine, process, run, turns, vma

LARGE = machine(pages_per_block=16)
STACK = vma([1], node=0)
"""Every process has a further area above those a test looks at."""


def test_statuses_of_ordinary_ksm_and_missing_pages() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        start = w.address("A:0")
        pages = [start + number * PAGE_SIZE for number in range(10)]
        await w.load("A:7")

        async def move(node: int) -> list[int]:
            err, status = await do_pages_move(
                w.g, mm, [(page, node) for page in pages], migrate_all=False
            )
            assert err == (0 if status else -ENODEV)
            return status

        ksm_and_holes = [-ENOENT] * 6
        assert await do_pages_stat(w.g, mm, pages) == [0, 0, *ksm_and_holes, 0, -ENOENT]
        assert await move(1) == [1, 1, *ksm_and_holes, 1, -ENOENT]
        assert await do_pages_stat(w.g, mm, pages) == [1, 1, *ksm_and_holes, 1, -ENOENT]
        assert await move(1) == [1, 1, *ksm_and_holes, 1, -ENOENT]
        assert await move(0) == [0, 0, *ksm_and_holes, 0, -ENOENT]
        assert await move(7) == []
        assert w.counters()[:2] == (1, 3)

    contents: list[int | str] = [61, 62, 60, 60, 60, 60, "-", "-", 63]
    prepare = "\n".join([process("A", *contents), STACK])

    async def merged_first(w: KernelWorld) -> None:
        await w.madvise("A:2", 4, mergeable=True)
        await w.scan(3)
        await body(w)

    w = run(merged_first, LARGE, prepare)
    assert w.contents("A")[:9] == [61, 62, 60, 60, 60, 60, None, 0, 63]


def test_absent_node_is_refused_before_anything_moves() -> None:
    async def body(w: KernelWorld) -> None:
        assert await do_pages_move(
            w.g, w.mm("A"), [(w.address("A:0"), 1), (w.address("A:1"), 7)], migrate_all=False
        ) == (-ENODEV, [])
        assert await w.query("A:0", "A:1") == [0, 0]

    run(body, process("A", 1, 2))


def test_node_without_memory_is_as_good_as_absent() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        assert await w.move("A:0", node=1) == -ENODEV
        assert await w.online(1) == 0
        assert await w.move("A:0", node=1) == [1]

    run(body, process("A", 1))


def test_candidates_moved_before_they_merge_stay_on_their_new_node() -> None:
    async def body(w: KernelWorld) -> None:
        await w.scan()
        assert w.counters() == (0, 0, 0, 4)
        assert await w.move("A:0", "A:1", "A:2", "A:3", node=1) == [1, 1, 1, 1]
        assert w.counters() == (0, 0, 0, 4)
        for _ in range(3):
            await w.scan()
            assert w.counters() == (1, 2, 1, 0)

    w = run(body, process("A", 71, 71, 71, 72, mergeable=True))
    assert w.shot("A").node == "1111"  # type: ignore[union-attr]
    assert w.shot("A").ksm == "KKKp"  # type: ignore[union-attr]


def test_address_above_every_area_is_a_fault() -> None:
    async def body(w: KernelWorld) -> None:
        mm, beyond = w.mm("A"), w.address("A:0") + PAGE_SIZE
        assert await do_pages_stat(w.g, mm, [beyond]) == [-EFAULT]
        assert await do_pages_move(w.g, mm, [(beyond, 1)], migrate_all=False) == (0, [-EFAULT])

    run(body, process("A", 1))


def test_page_listed_twice_is_busy_the_second_time() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:0", "A:0", node=1) == [1, -EBUSY]

    run(body, process("A", 1))


def test_page_in_a_pagevec_is_drained_first() -> None:
    async def body(w: KernelWorld) -> None:
        await w.store("A:0", 1)
        assert await w.move("A:0", node=1) == [1]

    run(body, process("A", "-"))


def test_ksm_page_passes_for_missing_even_with_move_all() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:0", "A:1", node=1, everyone=True) == [-ENOENT, -ENOENT]
        assert await w.move("A:0", node=0, everyone=True) == [-ENOENT]

    run(body, ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))


def test_kernel_that_does_not_skip_ksm_pages_says_what_is_in_the_way() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.query("A:0") == [0]
        assert await w.move("A:0", node=0) == [0]
        assert await w.move("A:0", node=1) == [-EACCES]
        assert await w.move("A:0", node=1, everyone=True) == [-EBUSY]

    parts = (ksm(["A:0", "A:1"]), process("A", 7, 7, mergeable=True))
    run(body, *parts, without=["numa_callers_skip_ksm"])


def test_lack_of_memory_fails_the_whole_call() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:0", "A:1", node=1) == -ENOMEM

    run(body, process("A", 1, 2), faults=["enomem"], choices=Choices(faults=[0, 1]))


def test_full_node_fails_the_whole_call() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.move("A:0", node=1) == -ENOMEM

    small = machine(pages_per_block=2)
    run(body, small, process("A", 1), process("B", 1, 2, node=1))


def test_page_that_goes_ksm_after_the_look_is_busy() -> None:
    async def mover(w: KernelWorld) -> None:
        w.log.append(await w.move("A:0", node=1))

    async def ksmd(w: KernelWorld) -> None:
        await w.batch(100)

    schedule = turns("mover@unmap_and_move.3", "ksmd", "mover")
    parts = (process(n, 7, mergeable=True, checksum=True, pte="ro") for n in "BA")
    w = KernelWorld(*parts, actors=("mover", "ksmd"), strategy=schedule)
    assert w.go(mover, ksmd).found == []
    assert w.log == [[-EBUSY]]
    assert w.counters() == (1, 1, 0, 0)
