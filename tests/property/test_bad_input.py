# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever user space passes in: an errno of the kernel's or success, and a machine still sound.

Each example makes a few calls one after the other in a small machine, with arguments from pages
that exist, their neighbourhood, and the edges of the number range; the process may have exited
before. Oracles look on, the contract oracle at each answer, and judge the machine at rest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from errno import EFAULT, ENOMEM
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksmtrio.base.memory import MEMORY_SYSFS
from ksmtrio.errors import SyscallError
from ksmtrio.mm.ksm_sysfs import KSM_SYSFS
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.sched.choices import Choices
from ksmtrio.uapi import pipe, procfs, syscalls, sysfs, uaccess
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE, TASK_SIZE
from tests.kernel_world import KernelWorld, ksm, machine, process

FIRST: Final = 0x100 << PAGE_SHIFT
"""Address of the first page of every process."""

WORLD = (
    machine(pages_per_block=8, swap_slots=4),
    ksm(["A:0", "B:0"], batches=2, pages_to_scan=4),
    process("A", 7, 5, "-", mergeable=True),
    process("B", 7, 5, mergeable=True, node=1, swap="cache"),
)

FAULTS: Final = ("enomem", "signal", "early-expiry")
EDGES: Final = (0, 1, -1, PAGE_SIZE, TASK_SIZE - PAGE_SIZE, TASK_SIZE, 1 << 63, (1 << 64) - 1)
INTS = st.one_of(st.sampled_from(EDGES), st.integers(), st.integers(-3, 40))
PAGES = st.integers(-1, 5).map(lambda page: FIRST + page * PAGE_SIZE)
ADDRESSES = st.one_of(PAGES, st.builds(int.__add__, PAGES, st.integers(0, PAGE_SIZE)), INTS)
LENGTHS = st.one_of(st.integers(0, 4).map(lambda pages: pages * PAGE_SIZE), INTS)
NODES = st.lists(st.one_of(st.integers(0, 2), INTS), max_size=4)
FLAGS = st.one_of(st.integers(0, 8), INTS)
TEXTS = st.one_of(
    st.sampled_from(["", "0", "1", "2", "2\n", "-1", "online", "offline", "0x1000", "off"]),
    st.text(max_size=8),
)
PATHS = st.one_of(
    st.sampled_from(
        [
            "/",
            "/sys",
            KSM_SYSFS,
            *(
                f"{KSM_SYSFS}/{name}"
                for name in ("run", "pages_to_scan", "sleep_millisecs", "full_scans", "nothing")
            ),
            f"{KSM_SYSFS}/run/run",
            f"{MEMORY_SYSFS}/memory1/state",
            f"{MEMORY_SYSFS}/memory1/removable",
            f"{MEMORY_SYSFS}/memory9/state",
            f"{MEMORY_SYSFS}/soft_offline_page",
        ]
    ),
    st.text(max_size=8),
)


class Call(NamedTuple):
    """A call of uapi.

    Attributes:
        make: calls it with the machine, an address space and drawn arguments.
        arguments: what to draw.
    """

    make: Callable[..., Awaitable[Any]]
    arguments: tuple[st.SearchStrategy[Any], ...] = ()


def on_mm(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Take a function of (g, mm, ...)."""
    return lambda w, mm, *args: function(w.g, mm, *args)


def on_g(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Take a function of (g, ...)."""
    return lambda w, _mm, *args: function(w.g, *args)


async def access(w: KernelWorld, mm: MmStruct, address: int, half: int, value: int | None) -> None:
    """Load, or store a value."""
    if value is None:
        err, _ = await uaccess.load(w.g, mm, address, half)
    else:
        err = await uaccess.store(w.g, mm, address, half, value)
    assert -err in (0, EFAULT, ENOMEM)


async def fork(w: KernelWorld, mm: MmStruct) -> None:
    """Fork a child that exits."""
    await syscalls.exit_(w.g, await syscalls.fork(w.g, mm, "child"))


RANGE = (ADDRESSES, LENGTHS)

CALLS: Final[dict[str, Call]] = {
    "madvise": Call(on_mm(syscalls.madvise), (*RANGE, st.one_of(st.integers(0, 16), INTS))),
    "mmap": Call(on_mm(syscalls.mmap), (*RANGE, FLAGS, st.one_of(st.integers(0, 64), INTS))),
    "munmap": Call(on_mm(syscalls.munmap), RANGE),
    "mremap": Call(on_mm(syscalls.mremap), (*RANGE, LENGTHS, FLAGS, ADDRESSES)),
    "mlock": Call(on_mm(syscalls.mlock), RANGE),
    "munlock": Call(on_mm(syscalls.munlock), RANGE),
    "mbind": Call(
        on_mm(syscalls.mbind), (*RANGE, st.one_of(st.integers(0, 4), INTS), NODES, FLAGS)
    ),
    "move_pages": Call(
        on_mm(syscalls.move_pages),
        (st.lists(ADDRESSES, max_size=4), st.one_of(st.none(), NODES), FLAGS),
    ),
    "migrate_pages": Call(on_mm(syscalls.migrate_pages), (NODES, NODES)),
    "fork": Call(fork),
    "exit": Call(on_mm(syscalls.exit_)),
    "swapoff": Call(on_g(syscalls.swapoff)),
    "kill": Call(
        on_g(syscalls.kill),
        (st.sampled_from(["writeback", "nobody", ""]), st.one_of(st.integers(0, 64), INTS)),
    ),
    "reclaim": Call(on_g(syscalls.reclaim), (st.integers(-2, 4),)),
    "vmsplice": Call(on_mm(pipe.vmsplice), (ADDRESSES,)),
    "drain": Call(on_mm(pipe.drain), (ADDRESSES,)),
    "access": Call(access, (ADDRESSES, INTS, st.one_of(st.none(), INTS))),
    "numa_maps": Call(on_mm(procfs.numa_maps)),
    "pagemap": Call(on_mm(procfs.pagemap), (ADDRESSES,)),
    "sysfs_read": Call(on_g(sysfs.read), (PATHS,)),
    "sysfs_write": Call(on_g(sysfs.write), (PATHS, TEXTS)),
}
"""Every call of uapi that takes arguments from user space."""


def one_call(name: str) -> st.SearchStrategy[tuple[str, tuple[Any, ...]]]:
    """Return a strategy for a call with arguments."""
    return st.tuples(st.just(name), st.tuples(*CALLS[name].arguments))


ANY_CALL = st.sampled_from(sorted(CALLS)).flatmap(one_call)


def perform(
    calls: list[tuple[str, tuple[Any, ...]]],
    *,
    kernel: str,
    exited: bool,
    faults: list[int] | None = None,
) -> KernelWorld:
    """Make the calls as process A, which may have exited; return the machine at rest."""

    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        if exited:
            await w.exit("A")
        for name, arguments in calls:
            with suppress(SyscallError):
                await CALLS[name].make(w, mm, *arguments)
            assert not w.rt.me.held, f"{name}{arguments} keeps {w.rt.me.held}"

    choices = Choices([], [], faults or [])
    return KernelWorld(*WORLD, kernel=kernel, faults=FAULTS, choices=choices).go(body)


@pytest.mark.parametrize("name", sorted(CALLS))
@given(data=st.data(), exited=st.sampled_from([False, False, False, True]))
@settings(max_examples=25)
def test_a_call_with_any_arguments_answers_as_its_interface_allows(
    name: str, data: st.DataObject, *, exited: bool
) -> None:
    calls = [data.draw(one_call(name)) for _ in range(2)]
    world = perform(calls, kernel="latest-fixes", exited=exited)
    assert world.found == []


@given(
    calls=st.lists(ANY_CALL, max_size=6),
    exited=st.booleans(),
    faults=st.lists(st.integers(0, 1), max_size=30),
)
@settings(max_examples=80)
def test_any_calls_leave_a_sound_machine_even_if_memory_runs_out(
    calls: list[tuple[str, tuple[Any, ...]]], faults: list[int], *, exited: bool
) -> None:
    assert perform(calls, kernel="latest-fixes", exited=exited, faults=faults).found == []


@given(calls=st.lists(ANY_CALL, max_size=6), exited=st.booleans())
@settings(max_examples=50)
def test_no_call_is_too_much_for_the_kernel_as_it_was(
    calls: list[tuple[str, tuple[Any, ...]]], *, exited: bool
) -> None:
    """Its defects may show, but no answer outside the interface, and nothing of ours may fail."""
    found = perform(calls, kernel="v2.6.33", exited=exited).found
    assert not [finding for finding in found if finding.startswith("contract:")]
