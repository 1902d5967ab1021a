# SPDX-License-Identifier: GPL-2.0-or-later
"""CONFIG_* options: what user space sees of a kernel that was built without one."""

from __future__ import annotations

from errno import EINVAL, ENOENT, ENOSYS

import pytest

from ksmtrio.mm.ksm_scan import ksm_scan_thread
from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_STRICT
from ksmtrio.uapi import syscalls
from tests.kernel_world import KernelWorld, actor, answer, ksm, machine, process, run, turns

KSM = "/sys/kernel/mm/ksm"
MEMORY = "/sys/devices/system/memory"
MERGED = (ksm(["A:0", "A:1"]), process("A", 7, 7, 8, mergeable=True))


def test_without_ksm_its_advice_is_unknown_and_nothing_is_merged() -> None:
    async def body(w: KernelWorld) -> None:
        assert w.shot("A").ksm == "ppp"  # type: ignore[union-attr]
        for mergeable in (True, False):
            for pages in (0, 3):
                assert await w.madvise("A:0", pages, mergeable=mergeable) == -EINVAL
        assert await w.read(f"{KSM}/run") == -ENOENT
        assert await w.read(f"{MEMORY}/memory1/state") == "online"
        await ksm_scan_thread(w.g, batches=3)
        assert await w.offline(1) == 0
        assert w.counters() == (0, 0, 0, 0)
        await w.exit("A")

    w = run(body, *MERGED, without=["CONFIG_KSM"])
    assert not w.ksm._mm_list


def test_without_ksm_the_actor_ksmd_does_nothing() -> None:
    w = KernelWorld(*MERGED, actor("ksmd", "ksmd"), without=["CONFIG_KSM"])
    assert w.go().found == []
    assert w.rt.points <= 1 + len(w.rt.actors)


def test_without_sysfs_there_are_no_files_and_ksmd_runs_from_the_start() -> None:
    async def body(w: KernelWorld) -> None:
        assert w.ksm.ksm_run.value == 1
        assert w.ksm.ksm_thread_pages_to_scan.value == 100
        for path in (f"{KSM}/run", f"{MEMORY}/memory1/state", "/sys/kernel", "/sys"):
            assert await w.read(path) == -ENOENT
            assert await w.write(path, "1") == -ENOENT
        assert await w.offline(1) == -ENOENT
        await w.scan(3)

    knobs = ksm(run=0, pages_to_scan=3, sleep_millisecs=1)
    w = run(body, knobs, process("A", 7, 7, mergeable=True), without=["CONFIG_SYSFS"])
    assert w.counters() == (1, 1, 0, 0)


def test_without_migration_the_calls_that_move_pages_are_not_there() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        assert await w.move("A:0", node=1) == -ENOSYS
        assert await answer(syscalls.move_pages(w.g, mm, [w.address("A:0")], None, 0)) == -ENOSYS
        assert await answer(syscalls.migrate_pages(w.g, mm, [0], [1])) == -ENOSYS
        assert await w.mbind("A:0", 1, flags=MPOL_MF_MOVE) == -ENOSYS
        assert await w.mbind("A:0", 1, flags=MPOL_MF_STRICT) != -ENOSYS
        assert await w.mbind("A:0", 1, flags=0) == 0
        assert await w.offline(1) == -EINVAL
        assert w.shot("A").node == "0"  # type: ignore[union-attr]

    run(body, process("A", 1), without=["CONFIG_MIGRATION"])


def test_without_migration_soft_offline_leaves_the_page_isolated_for_ever() -> None:
    async def body(w: KernelWorld) -> None:
        pfn = w.page("A:0").pfn
        assert await w.write(f"{MEMORY}/soft_offline_page", f"{pfn << 12:#x}") == -ENOSYS
        assert w.page("A:0").pfn == pfn

    w = KernelWorld(process("A", 1), without=["CONFIG_MIGRATION"]).go(body)
    assert w.found == ["page_state:refcount-leak", "page_state:mapped-page-not-on-lru"]


def test_without_memory_hotremove_offline_is_refused_and_ksm_is_not_told() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == -EINVAL
        assert await w.read(f"{MEMORY}/memory1/state") == "online"
        assert await w.read(f"{MEMORY}/memory1/removable") == "0"
        assert not w.g.memory_chain._chain
        assert await w.move("A:2", node=1) == [1]

    run(body, *MERGED, without=["CONFIG_MEMORY_HOTREMOVE"])


@pytest.mark.parametrize("option", [True, False])
@pytest.mark.parametrize("able", [True, False])
def test_offlines_exclude_each_other_only_where_the_machine_can_hibernate(
    *, option: bool, able: bool
) -> None:
    async def first(w: KernelWorld) -> None:
        assert await w.offline(1) == 0

    async def second(w: KernelWorld) -> None:
        # In KSM's callback if not before: whoever comes second waits for the first one.
        w.log.append([lock.name for lock in w.rt.actors[0].held])
        assert await w.offline(2) == 0

    without = [] if option else ["CONFIG_HIBERNATION"]
    w = KernelWorld(
        machine(blocks_per_node=2, hibernation=able),
        process("A", 7, block=1),
        actors=("first", "second"),
        strategy=turns("first@scan_lru_pages.1", "second", "first", "second"),
        without=without,
    )
    w.go(first, second)
    (held,) = w.log
    assert ("pm_mutex" in held) == (option and able)


@pytest.mark.parametrize("option", ["KSM", "SYSFS", "MIGRATION", "MEMORY_HOTREMOVE", "HIBERNATION"])
def test_every_call_answers_in_a_kernel_without_the_option(option: str) -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.store("A:0", 9) == 0
        await w.madvise("A:0", 3, mergeable=False)
        await w.madvise("A:0", 3, mergeable=True)
        await w.move("A:0", node=1)
        await w.mbind("A:0", 2, flags=MPOL_MF_MOVE)
        await w.write(f"{KSM}/run", "2")
        await w.write(f"{KSM}/run", "1")
        await w.scan(2)
        await w.offline(1)
        await w.online(1)
        await w.store("A:2", 9)
        await w.exit("B")

    parts = (*MERGED, process("B", 7, 8, mergeable=True))
    w = run(body, *parts, without=[f"CONFIG_{option}"])
    assert w.contents("A") == [9, 7, 9]
