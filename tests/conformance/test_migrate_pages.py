# SPDX-License-Identifier: GPL-2.0-or-later
"""What the LTP demands of migrate_pages, in our own words."""

from __future__ import annotations

from errno import EINVAL, ESRCH

import pytest

from ksmtrio.sched.strategies.random import RandomStrategy
from tests.conformance.world import Bench, run


# LTP migrate_pages01.
def test_from_a_node_to_itself_there_is_nothing_to_do() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2)
        frames = process.frames()
        assert await process.migrate_pages(0, 0) == 0
        assert process.frames() == frames

    run(program)


# LTP migrate_pages01.
def test_process_that_does_not_exist_is_refused() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1)
        await process.exit()
        assert await process.migrate_pages(0, 1) == -ESRCH

    run(program)


# LTP migrate_pages01.
def test_target_node_without_memory_is_refused() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1)
        assert await process.migrate_pages(0, 2) == -EINVAL
        assert process.nodes() == "0"

    run(program)


# LTP migrate_pages02. The caller is the driver, and so the process is another one than its own.
def test_private_pages_of_a_process_move_there_and_back() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2, 3)
        assert await process.migrate_pages(0, 1) == 0
        assert process.nodes() == "111"
        assert await process.migrate_pages(1, 0) == 0
        assert process.nodes() == "000"
        assert await b.bad_pages() == 0

    run(program)


# LTP migrate_pages02, with CAP_SYS_NICE, which every task has; what is shared is forked.
def test_shared_pages_move_for_a_task_that_may() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1)
        child = await process.fork("B")
        assert await child.migrate_pages(0, 1) == 0
        assert (process.nodes(), child.nodes()) == ("1", "1")

    run(program)


# LTP migrate_pages03.
@pytest.mark.parametrize("seed", range(4))
def test_merged_pages_migrated_to_and_fro_while_ksmd_runs_never_fail(seed: int) -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", *[0] * 6)
        await process.merge()
        await b.scan(2)
        await b.knob("run", 1)
        for loop in range(6):
            assert await process.migrate_pages(loop % 2, 1 - loop % 2) >= 0
        await b.knob("run", 0)
        assert await b.bad_pages() == 0

    run(program, strategy=RandomStrategy(seed))
