# SPDX-License-Identifier: GPL-2.0-or-later
"""The system calls' own checks, and how errnos reach the caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from errno import EFAULT, EINVAL, ENOMEM, ESRCH
from typing import Any

import pytest

from ksmtrio.errors import SyscallError
from ksmtrio.mm.ksm import MADV_MERGEABLE
from ksmtrio.mm.mempolicy import MPOL_MF_MOVE
from ksmtrio.mm.mempolicy_alloc import MPOL_BIND
from ksmtrio.uapi import syscalls
from ksmtrio.units import PAGE_SIZE
from tests.kernel_world import KernelWorld, answer, process, run

Call = Callable[[KernelWorld], Awaitable[Any]]

ODD: dict[str, tuple[Call, int]] = {
    "madvise of a misaligned start": (
        lambda w: syscalls.madvise(w.g, w.mm("A"), 1, PAGE_SIZE, MADV_MERGEABLE),
        -EINVAL,
    ),
    "madvise with unknown advice": (
        lambda w: syscalls.madvise(w.g, w.mm("A"), w.address("A:0"), PAGE_SIZE, 99),
        -EINVAL,
    ),
    "madvise of nothing": (
        lambda w: syscalls.madvise(w.g, w.mm("A"), w.address("A:0"), 0, MADV_MERGEABLE),
        0,
    ),
    "madvise of a hole": (
        lambda w: syscalls.madvise(w.g, w.mm("A"), 0, PAGE_SIZE, MADV_MERGEABLE),
        -ENOMEM,
    ),
    "munmap of a misaligned start": (
        lambda w: syscalls.munmap(w.g, w.mm("A"), 1, PAGE_SIZE),
        -EINVAL,
    ),
    "munmap of nothing": (lambda w: syscalls.munmap(w.g, w.mm("A"), 0, 0), -EINVAL),
    "munmap of a hole": (lambda w: syscalls.munmap(w.g, w.mm("A"), 0, PAGE_SIZE), 0),
    "mbind with unknown flags": (
        lambda w: syscalls.mbind(w.g, w.mm("A"), 0, PAGE_SIZE, MPOL_BIND, (1,), 64),
        -EINVAL,
    ),
    "move_pages with unknown flags": (
        lambda w: syscalls.move_pages(w.g, w.mm("A"), [0], [1], 64),
        -EINVAL,
    ),
    "move_pages with too few nodes": (
        lambda w: syscalls.move_pages(w.g, w.mm("A"), [0, 1], [1], MPOL_MF_MOVE),
        -EFAULT,
    ),
    "move_pages of nothing": (
        lambda w: syscalls.move_pages(w.g, w.mm("A"), [], [], MPOL_MF_MOVE),
        [],  # type: ignore[dict-item]
    ),
}


@pytest.mark.parametrize("what", ODD)
def test_odd_arguments(what: str) -> None:
    call, expected = ODD[what]

    async def body(w: KernelWorld) -> None:
        assert await answer(call(w)) == expected
        assert not w.rt.me.held

    assert run(body, process("A", 1)).contents("A") == [1]


def test_length_is_rounded_up_to_pages() -> None:
    async def body(w: KernelWorld) -> None:
        assert await syscalls.munmap(w.g, w.mm("A"), w.address("A:0"), PAGE_SIZE + 1) == 0

    assert run(body, process("A", 1, 2, 3)).contents("A") == [None, None, 3]


def test_errno_is_raised_as_a_positive_number() -> None:
    async def body(w: KernelWorld) -> None:
        with pytest.raises(SyscallError, match="EINVAL") as caught:
            await syscalls.munmap(w.g, w.mm("A"), 1, 1)
        assert caught.value.errno == EINVAL

    run(body, process("A", 1))


def test_exited_process_makes_no_system_calls() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        await w.exit("A")
        assert await answer(syscalls.munmap(w.g, mm, 0, PAGE_SIZE)) == -ESRCH
        assert await answer(syscalls.exit_(w.g, mm)) == -ESRCH
        assert await answer(syscalls.move_pages(w.g, mm, [0], None, 0)) == -ESRCH

    KernelWorld(process("A", 1, mergeable=True)).go(body, rest=False)
