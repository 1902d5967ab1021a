# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's selftests and the LTP demand of memory blocks, in our own words."""

from __future__ import annotations

from errno import ENOMEM

from ksmtrio.mm.ksm_hotplug import MEM_GOING_OFFLINE, MEM_GOING_ONLINE
from ksmtrio.notifier import NOTIFY_OK, MemoryNotify, NotifierBlock, notifier_from_errno
from ksmtrio.uapi import sysfs
from ksmtrio.units import PAGE_SIZE
from tests.conformance.world import NARROW_BLOCK, NR_BLOCKS, Bench, run

MOVABLE = range(NARROW_BLOCK, 2 * NR_BLOCKS)


async def removable(b: Bench, block: int) -> bool:
    return await sysfs.read_memory_removable(b.world.g, b.world.machine.memory_blocks[block])


class ErrorInjection:
    """A memory notifier that refuses what it is told to, like the module of that name."""

    def __init__(self, b: Bench) -> None:
        self.refused = ""
        b.world.g.memory_chain.register_at_boot(NotifierBlock("inject", self._callback))

    async def _callback(self, action: str, _: MemoryNotify) -> int:
        return notifier_from_errno(-ENOMEM) if action == self.refused else NOTIFY_OK


# Selftest memory-hotplug, mem-on-off-test: the blocks whose `removable` says so. Without
# the drain the first offline may say -EBUSY: it looks for pages to move before it drains pagevecs,
# and its last check is final. Later kernels drain first.
def test_removable_blocks_go_offline_and_come_online_again() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2, 3, node=1)
        await b.drain()
        assert [await removable(b, block) for block in MOVABLE] == [True] * len(MOVABLE)
        for block in MOVABLE:
            assert await b.offline(block) == {"call": "offline", "ret": 0, "state_online": 0}
        assert process.nodes() == "000"
        for block in MOVABLE:
            assert await b.online(block) == {"call": "online", "ret": 0, "state_online": 1}
        assert await b.bad_pages() == 0

    run(program)


# Selftest memory-hotplug, mem-on-off-test: errors injected into MEM_GOING_OFFLINE.
def test_block_stays_online_when_a_notifier_refuses_its_removal() -> None:
    async def program(b: Bench) -> None:
        injection = ErrorInjection(b)
        injection.refused = MEM_GOING_OFFLINE
        for block in MOVABLE:
            assert await b.offline(block) == {"call": "offline", "ret": -ENOMEM, "state_online": 1}
        injection.refused = ""
        for block in MOVABLE:
            assert (await b.offline(block))["ret"] == 0

    run(program)


# Selftest memory-hotplug, mem-on-off-test: errors injected into MEM_GOING_ONLINE.
def test_block_stays_offline_when_a_notifier_refuses_its_return() -> None:
    async def program(b: Bench) -> None:
        injection = ErrorInjection(b)
        for block in MOVABLE:
            assert (await b.offline(block))["ret"] == 0
        injection.refused = MEM_GOING_ONLINE
        for block in MOVABLE:
            assert await b.online(block) == {"call": "online", "ret": -ENOMEM, "state_online": 0}
        injection.refused = ""
        for block in MOVABLE:
            assert (await b.online(block))["ret"] == 0

    run(program)


# LTP madvise11: a page that is soft-offlined is replaced by another with its content, and its frame
# is used no more.
def test_soft_offline_gives_a_page_another_frame_and_keeps_its_content() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2)
        await b.drain()
        [frame, other] = process.frames()
        assert frame is not None
        text = hex(frame * PAGE_SIZE)
        assert await sysfs.write_soft_offline_page(b.world.g, text) == len(text)
        assert process.frames()[0] not in (frame, None)
        assert process.frames()[1] == other
        assert await b.bad_pages() == 0
        later = await b.mk("B", *range(8))
        assert frame not in later.frames()

    run(program)


# Selftest rmap, migrate.ksm. It migrates by move_pages, which passes over KSM pages here; taking
# their block offline moves them.
def test_every_process_maps_the_frame_that_a_merged_page_moved_to() -> None:
    async def program(b: Bench) -> None:
        root = await b.mk("A", 0xCF, node=1)
        await root.mbind(0, 1, (1,), 0)
        child = await root.fork("B")
        family = [root, child, await root.fork("C"), await child.fork("D")]
        for process in family:
            await process.write(0, 0xCF)
            await process.merge()
        await b.scan(3)
        [before] = root.frames()
        assert [process.frames() for process in family] == [[before]] * 4
        assert (await b.offline(root.block(0)))["ret"] == 0
        [after] = root.frames()
        assert after != before
        assert [process.frames() for process in family] == [[after]] * 4
        assert await b.bad_pages() == 0

    run(program)


# Selftest rmap, migrate.ksm_and_mremap, with the same difference.
def test_merged_pages_of_an_area_that_was_remapped_move_together() -> None:
    async def program(b: Bench) -> None:
        process = await b.narrow("A", *[0x77] * 8)
        assert await process.mremap(4, 8, to=0) == process.address(0)
        await process.merge(0, 4)
        await b.scan(3)
        before = process.frames()[:4]
        assert before == [before[0]] * 4
        assert (await b.offline(process.block(0)))["ret"] == 0
        after = process.frames()[:4]
        assert after == [after[0]] * 4
        assert after != before
        assert await b.bad_pages() == 0

    run(program)
