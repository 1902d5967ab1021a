# SPDX-License-Identifier: GPL-2.0-or-later
"""madvise: ranges with holes, advice of every kind, MADV_DONTNEED beside other threads."""

from __future__ import annotations

from errno import EAGAIN, EBADF, EINVAL, ENOMEM

import pytest

from ksmtrio.mm.ksm import MADV_MERGEABLE, MADV_UNMERGEABLE
from ksmtrio.mm.madvise import (
    MADV_DOFORK,
    MADV_DONTFORK,
    MADV_DONTNEED,
    MADV_NORMAL,
    MADV_RANDOM,
    MADV_REMOVE,
    MADV_SEQUENTIAL,
    MADV_WILLNEED,
    sys_madvise,
)
from ksmtrio.mm.mm_types import (
    VM_DONTCOPY,
    VM_MAYSHARE,
    VM_MERGEABLE,
    VM_RAND_READ,
    VM_SAO,
    VM_SEQ_READ,
    VM_SHARED,
)
from ksmtrio.sched.choices import Choices
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import AT, KernelWorld, process, run, turns, vma
from tests.swap_world import swap_out, with_device

TWO_AREAS = "\n".join([process("A", 1, 2, 3, 4), vma([5, 6])])
PAGE = PAGE_SIZE


async def advise(w: KernelWorld, ref: str, pages: int, advice: int) -> int:
    """Advise on pages from `ref` on, holes included."""
    return await sys_madvise(w.g, w.mm(ref[0]), w.address(ref), pages * PAGE, advice)


@pytest.mark.parametrize(
    ("offset", "length", "advice", "answer"),
    [
        (0, 4 * PAGE, MADV_MERGEABLE, 0),
        (0, 4 * PAGE - 1, MADV_MERGEABLE, 0),  # rounded up
        (1, 4 * PAGE, MADV_MERGEABLE, -EINVAL),  # unaligned
        (0, 0, MADV_MERGEABLE, 0),
        (1 << 40, 0, MADV_MERGEABLE, 0),  # nothing, nowhere
        (0, (1 << 64) - 1, MADV_MERGEABLE, -EINVAL),  # wraps to 0
        (0, (1 << 64) - PAGE, MADV_MERGEABLE, -EINVAL),  # wraps around
        (0, 4 * PAGE, 5, -EINVAL),
        (0, 4 * PAGE, -1, -EINVAL),
        (0, 5 * PAGE, MADV_MERGEABLE, -ENOMEM),  # ends beyond the area
        (-2 * PAGE, 3 * PAGE, MADV_MERGEABLE, -ENOMEM),  # begins before it
        (1 << 40, PAGE, MADV_MERGEABLE, -ENOMEM),  # nothing mapped
        (0, 4 * PAGE, MADV_UNMERGEABLE, 0),  # never merged
        (0, 4 * PAGE, MADV_WILLNEED, -EBADF),
        (0, 4 * PAGE, MADV_REMOVE, -EINVAL),
        (0, 4 * PAGE, MADV_NORMAL, 0),
    ],
)
def test_arguments_and_ranges_get_the_kernels_answer(
    offset: int, length: int, advice: int, answer: int
) -> None:
    async def body(w: KernelWorld) -> None:
        start = w.address("A:0") + offset
        assert await sys_madvise(w.g, w.mm("A"), start, length, advice) == answer

    run(body, TWO_AREAS)


def test_range_with_a_hole_is_advised_where_it_is_mapped() -> None:
    async def body(w: KernelWorld) -> None:
        pages = (w.address("A:5") - w.address("A:2")) // PAGE + 1
        assert await advise(w, "A:2", pages, MADV_MERGEABLE) == -ENOMEM
        advised = [bool(w.vma(f"A:{n}")._vm_flags & VM_MERGEABLE) for n in range(6)]
        assert advised == [False, False, True, True, True, True]

    run(body, TWO_AREAS)


@pytest.mark.parametrize("flag", [VM_SHARED | VM_MAYSHARE, VM_SAO])
def test_areas_that_ksm_cannot_merge_silently_ignore_the_advice(flag: int) -> None:
    async def body(w: KernelWorld) -> None:
        await w.mm("A").mmap_sem.down_write(AT)
        w.vma("A:0").vm_flags |= flag
        await w.mm("A").mmap_sem.up_write(AT)
        assert await advise(w, "A:0", 4, MADV_MERGEABLE) == 0
        assert not w.vma("A:0")._vm_flags & VM_MERGEABLE
        assert w.ksm._mm_list == ()

    run(body, TWO_AREAS)


@pytest.mark.parametrize(
    ("advice", "set_", "back"),
    [
        (MADV_RANDOM, VM_RAND_READ, MADV_NORMAL),
        (MADV_SEQUENTIAL, VM_SEQ_READ, MADV_NORMAL),
        (MADV_DONTFORK, VM_DONTCOPY, MADV_DOFORK),
    ],
)
def test_advice_is_kept_in_the_flags_of_the_part(advice: int, set_: int, back: int) -> None:
    async def body(w: KernelWorld) -> None:
        before = w.vma("A:1")._vm_flags
        assert await advise(w, "A:1", 2, advice) == 0
        assert w.vma("A:1")._vm_flags == before | set_
        assert w.vma("A:0")._vm_flags == w.vma("A:3")._vm_flags == before
        assert await advise(w, "A:1", 2, back) == 0
        assert w.vma("A:1")._vm_flags == before

    run(body, TWO_AREAS)


def test_area_that_is_not_to_be_forked_is_left_out() -> None:
    async def body(w: KernelWorld) -> None:
        await advise(w, "A:0", 4, MADV_DONTFORK)
        await w.fork("A", "C")

    assert run(body, TWO_AREAS).contents("C") == [None] * 4 + [5, 6]


def test_dontneed_gives_fresh_pages_in_a_range_that_stays_mapped() -> None:
    async def body(w: KernelWorld) -> None:
        pages = [w.page("A:1"), w.page("A:2")]
        assert await advise(w, "A:1", 2, MADV_DONTNEED) == 0
        assert [page.count.value for page in pages] == [0, 0]
        assert await w.load("A:1") == (0, 0)
        assert await w.store("A:2", 8) == 0

    assert run(body, TWO_AREAS).contents("A") == [1, 0, 8, 4, 5, 6]


def test_dontneed_frees_swap_slots() -> None:
    async def body(w: KernelWorld) -> None:
        await swap_out(w, "A:0")
        slot = w.pte("A:0").pfn
        assert await advise(w, "A:0", 1, MADV_DONTNEED) == 0
        assert w.g.swap._swap_map[slot] == 0
        assert await w.load("A:0") == (0, 0)

    with_device(body, TWO_AREAS)


def test_dontneed_lets_faults_of_other_threads_in() -> None:
    """It holds mmap_sem for read: a page touched behind its back stays, whatever it was before."""

    async def adviser(w: KernelWorld) -> None:
        assert await advise(w, "A:0", 2, MADV_DONTNEED) == 0

    async def toucher(w: KernelWorld) -> None:
        assert await w.store("A:0", 9) == 0
        w.log.append(await w.load("A:0"))

    w = KernelWorld(
        TWO_AREAS,
        actors=("adviser", "toucher"),
        strategy=turns("adviser@zap_pte_range.5", "toucher", "adviser"),
    )
    assert w.go(adviser, toucher).found == []
    assert w.log == [(0, 9)]
    assert w.contents("A")[:2] == [9, None]


@pytest.mark.parametrize("attempt", [0, 1])
def test_lack_of_memory_for_a_split_is_eagain(attempt: int) -> None:
    async def body(w: KernelWorld) -> None:
        assert await advise(w, "A:1", 2, MADV_RANDOM) == -EAGAIN
        assert not w.vma("A:1")._vm_flags & VM_RAND_READ

    run(body, TWO_AREAS, faults=["enomem"], choices=Choices(faults=[0] * attempt + [1]))
