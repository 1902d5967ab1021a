# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory blocks: their state file, whole sequences of writes, removal of the section."""

from __future__ import annotations

from errno import EBUSY, EINVAL, ENOENT

import pytest

from ksmtrio.mm.mm_types import Page
from ksmtrio.uapi.sysfs import (
    eject_memory,
    read,
    read_memory_phys_device,
    read_memory_phys_index,
    read_memory_removable,
    read_memory_state,
    write_memory_state,
)
from tests.kernel_world import AT, KernelWorld, answer, ksm, machine, notifier, process, run, turns

MERGED = (ksm(["A:0", "A:1"]), process("A", 200, 200, 201, 202, mergeable=True, node=1))


def test_sequence_of_writes_to_one_block() -> None:
    async def body(w: KernelWorld) -> None:
        block = w.machine.memory_blocks[1]
        assert await read_memory_state(w.g, block) == "online"
        assert await w.offline(1) == 0
        assert await read_memory_state(w.g, block) == "offline"
        assert await w.offline(1) == -EINVAL
        assert await w.online(1) == 0
        assert await w.online(1) == -EINVAL
        assert await w.write_state(1, "nonsense") == -EINVAL
        assert await read_memory_state(w.g, block) == "online"
        await w.scan(2)
        assert w.counters() == (1, 1, 2, 0)

    w = run(body, *MERGED)
    assert w.shot("A").ksm == "KKpp"  # type: ignore[union-attr]
    assert w.shot("A").node == "0000"  # type: ignore[union-attr]


@pytest.mark.parametrize("text", ["offline", "offline\n", "off", "offlinexyz"])
def test_word_is_compared_up_to_the_end_of_the_shorter(text: str) -> None:
    async def body(w: KernelWorld) -> None:
        written = await write_memory_state(w.g, w.machine.memory_blocks[1], text)
        assert written == len(text)
        assert await w.write_state(1, "online\n") == 0

    run(body)


@pytest.mark.parametrize("text", ["ONLINE", " online", "onlin3", "of line"])
def test_other_words_are_invalid(text: str) -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.write_state(1, text) == -EINVAL

    run(body)


def test_state_is_going_offline_while_the_chain_is_asked() -> None:
    async def driver(w: KernelWorld) -> None:
        await w.offline(1)

    async def reader(w: KernelWorld) -> None:
        w.log.append(await read_memory_state(w.g, w.machine.memory_blocks[1]))

    schedule = turns("driver@scan_lru_pages.1", "reader", "driver")
    w = KernelWorld(actors=("driver", "reader"), strategy=schedule)
    assert w.go(driver, reader).found == []
    assert w.log == ["going-offline"]


def test_failed_offline_restores_the_state() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.offline(1) == -EBUSY
        assert await read_memory_state(w.g, w.machine.memory_blocks[1]) == "online"

    run(body, notifier("driver", veto=True, errno="EBUSY"))


def test_second_writer_waits_and_finds_the_block_offline() -> None:
    async def first(w: KernelWorld) -> None:
        w.log.append(("first", await w.offline(1)))

    async def second(w: KernelWorld) -> None:
        w.log.append(("second", await w.offline(1)))

    schedule = turns("first@scan_lru_pages.1", "second", "first", "second")
    w = KernelWorld(*MERGED, actors=("first", "second"), strategy=schedule)
    assert w.go(first, second).found == []
    assert w.log == [("first", 0), ("second", -EINVAL)]


def test_section_is_removed_only_when_it_is_offline() -> None:
    async def body(w: KernelWorld) -> None:
        block = w.machine.memory_blocks[1]
        assert await answer(eject_memory(w.g, block)) == -EBUSY
        assert await w.offline(1) == 0
        assert await answer(eject_memory(w.g, block)) == 0
        assert not block.section.valid.value
        assert all(w.g.pages[pfn].dead for pfn in range(8, 16))
        assert await w.online(1) == -ENOENT
        assert await answer(read_memory_state(w.g, block)) == -ENOENT
        assert await answer(eject_memory(w.g, block)) == -EBUSY

    run(body, *MERGED)


def test_writer_that_waits_for_the_removal_finds_the_section_gone() -> None:
    async def remover(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        await eject_memory(w.g, w.machine.memory_blocks[1])

    async def writer(w: KernelWorld) -> None:
        assert await w.online(1) == -EINVAL
        assert await w.online(1) == -ENOENT

    schedule = turns("remover@remove_section.1#2", "writer", "remover", "writer")
    w = KernelWorld(*MERGED, actors=("remover", "writer"), strategy=schedule)
    assert w.go(remover, writer).found == []


def test_movable_block_is_removable_and_another_only_while_it_is_free() -> None:
    async def body(w: KernelWorld) -> None:
        blocks = w.machine.memory_blocks
        answers = [await read_memory_removable(w.g, block) for block in blocks]
        assert answers == [False, True, True, True]

    parts = (
        machine(blocks_per_node=2, movable_blocks=[1, 3]),
        process("A", 1, 2, block=0),
        process("B", 1, block=3),
    )
    run(body, *parts)


def test_offline_block_is_not_removable_for_its_first_page_is_reserved() -> None:
    async def body(w: KernelWorld) -> None:
        block = w.machine.memory_blocks[1]
        assert await read_memory_removable(w.g, block)
        assert await w.offline(1) == 0
        assert not await read_memory_removable(w.g, block)
        assert await w.online(1) == 0
        assert await read_memory_removable(w.g, block)

    run(body, *MERGED)


def test_block_is_not_removable_while_it_is_isolated_and_used() -> None:
    async def driver(w: KernelWorld) -> None:
        await w.offline(1)

    async def reader(w: KernelWorld) -> None:
        w.log.append(await read_memory_removable(w.g, w.machine.memory_blocks[1]))

    schedule = turns("driver@scan_lru_pages.1", "reader", "driver")
    w = KernelWorld(*MERGED, actors=("driver", "reader"), strategy=schedule)
    assert w.go(driver, reader).found == []
    assert w.log == [False]


def test_block_says_which_section_it_is() -> None:
    async def body(w: KernelWorld) -> None:
        for number, block in enumerate(w.machine.memory_blocks):
            assert await read_memory_phys_index(w.g, block) == number
            assert await read_memory_phys_device(w.g, block) == 0
        assert await read(w.g, "/sys/devices/system/memory/memory1/phys_index") == "00000001\n"

    run(body)


def test_touching_the_memmap_of_a_removed_section_is_a_finding() -> None:
    async def body(w: KernelWorld) -> None:
        page: Page = w.g.pages[8]
        assert await w.offline(1) == 0
        await eject_memory(w.g, w.machine.memory_blocks[1])
        await page.mapping.read(AT)

    assert KernelWorld().go(body).found == ["frames:use-after-offline"]


def test_online_of_one_block_does_not_wait_for_the_offline_of_another() -> None:
    async def driver(w: KernelWorld) -> None:
        await w.offline(3)
        await w.rt.cond_resched("driver.1")
        assert await w.offline(2) == 0
        w.log.append("offline")

    async def other(w: KernelWorld) -> None:
        assert await w.online(3) == 0
        w.log.append("online")

    schedule = turns("driver@driver.1", "driver@scan_lru_pages.1", "other", "driver")
    memory = machine(blocks_per_node=2, hibernation=True)  # onlining does not take pm_mutex
    w = KernelWorld(memory, actors=("driver", "other"), strategy=schedule)
    assert w.go(driver, other).found == []
    assert w.log == ["online", "offline"]
