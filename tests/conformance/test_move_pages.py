# SPDX-License-Identifier: GPL-2.0-or-later
"""What the LTP and the kernel's selftests demand of move_pages, in our own words."""

from __future__ import annotations

from errno import EACCES, EFAULT, EINVAL, ENODEV, ENOENT, ESRCH

import pytest

from ksmtrio.mm.mempolicy import MPOL_MF_MOVE_ALL, MPOL_MF_STRICT
from ksmtrio.sched.strategies.random import RandomStrategy
from tests.conformance.processes import NOT_WRITTEN
from tests.conformance.world import Bench, run


# LTP move_pages01.
def test_query_tells_the_node_of_each_page() -> None:
    async def program(b: Bench) -> None:
        for node, name in enumerate("AB"):
            process = await b.mk(name, 1, 2, node=node)
            answer = await process.query(0, 2)
            assert (answer["ret"], answer["status"]) == (0, [node, node])

    run(program)


# LTP move_pages02.
@pytest.mark.parametrize(("from_node", "to_node"), [(0, 1), (1, 0)])
def test_pages_of_one_process_move_to_the_node(from_node: int, to_node: int) -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2, 3, node=from_node)
        answer = await process.move_pages(0, 3, node=to_node)
        assert (answer["ret"], answer["status"]) == (0, [to_node] * 3)
        assert (await process.query(0, 3))["status"] == [to_node] * 3
        assert await b.bad_pages() == 0

    run(program)


# LTP move_pages03; what is shared are the pages of a forked process.
def test_shared_pages_move_with_move_all() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2)
        child = await process.fork("B")
        await b.drain()
        answer = await process.move_pages(0, 2, node=1, flags=MPOL_MF_MOVE_ALL)
        assert (answer["ret"], answer["status"]) == (0, [1, 1])
        assert (process.nodes(), child.nodes()) == ("11", "11")
        assert process.frames() == child.frames()
        assert await b.bad_pages() == 0

    run(program)


# LTP move_pages04. Of the zero page, kernels before 4.3 say -ENOENT. An address without a mapping
# is told from a page that is not there only above the last mapping (observed: E1move, page 9).
def test_pages_that_are_not_there_have_an_errno_for_a_status() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, None, None)
        await process.read(2)
        beyond_everything = (0x100000 - 0x80) + 3
        assert (await process.move_pages(0, 3, node=1))["status"] == [1, -ENOENT, -ENOENT]
        assert (await process.move_pages(beyond_everything, 1, node=1))["status"] == [-EFAULT]
        assert (await process.query(beyond_everything, 1))["status"] == [-EFAULT]

    run(program)


# LTP move_pages05.
def test_shared_page_is_refused_without_move_all_and_another_moves() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, None)
        await process.fork("B")
        await process.write(1, 2)
        await b.drain()
        answer = await process.move_pages(0, 2, node=1)
        assert (answer["ret"], answer["status"]) == (0, [-EACCES, 1])
        assert process.nodes() == "01"

    run(program)


# LTP move_pages06.
def test_node_that_does_not_exist_is_refused_and_no_status_written() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2)
        answer = await process.move_pages(0, 2, node=2)
        assert (answer["ret"], answer["status"]) == (-ENODEV, [NOT_WRITTEN] * 2)

    run(program)


# LTP move_pages07.
def test_process_that_does_not_exist_is_refused() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1)
        await process.exit()
        assert (await process.move_pages(0, 1, node=1))["ret"] == -ESRCH

    run(program)


# LTP move_pages09.
def test_pages_that_are_on_the_node_already_are_no_failure() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1, 2)
        frames = process.frames()
        answer = await process.move_pages(0, 2, node=0)
        assert (answer["ret"], answer["status"]) == (0, [0, 0])
        assert process.frames() == frames

    run(program)


# LTP move_pages10.
def test_flag_of_mbind_is_refused() -> None:
    async def program(b: Bench) -> None:
        process = await b.mk("A", 1)
        assert (await process.move_pages(0, 1, node=1, flags=MPOL_MF_STRICT))["ret"] == -EINVAL

    run(program)


# Selftest migration, private_anon; and shared_anon, where what is shared is forked.
@pytest.mark.parametrize("shared", [False, True], ids=["private", "forked"])
def test_reader_sees_the_content_while_the_page_moves_to_and_fro(*, shared: bool) -> None:
    waits: list[str] = []

    async def program(b: Bench) -> None:
        b.world.rt.marks["migration_entry_wait.6"] = [lambda _, at: waits.append(at)]
        process = await b.mk("A", 0xDE)
        reader = await process.fork("B") if shared else process
        await b.drain()

        async def read() -> None:
            for _ in range(60):
                assert await reader.read(0) == (0xDE, 0xDE)

        job = await b.launch(read())
        for loop in range(6):
            target = 1 - loop % 2
            answer = await process.move_pages(0, 1, node=target, flags=MPOL_MF_MOVE_ALL)
            assert answer["ret"] == 0
        await b.finish(job)
        await b.drain()
        answer = await process.move_pages(0, 1, node=1, flags=MPOL_MF_MOVE_ALL)
        assert (answer["ret"], answer["status"]) == (0, [1])

    for seed in range(8):
        run(program, strategy=RandomStrategy(seed))
    assert waits, "no reader ever met a page on the move"


# Selftest rmap, migrate.anon.
@pytest.mark.parametrize("worker", ["A", "B", "C", "D"])
def test_every_process_of_a_family_maps_the_frame_that_one_of_them_moved(worker: str) -> None:
    async def program(b: Bench) -> None:
        root = await b.mk("A", 0xCF)
        child = await root.fork("B")
        await root.fork("C")
        await child.fork("D")
        await b.drain()
        before = root.frames()
        answer = await b.processes[worker].move_pages(0, 1, node=1, flags=MPOL_MF_MOVE_ALL)
        assert (answer["ret"], answer["status"]) == (0, [1])
        frames = [process.frames() for process in b.processes.values()]
        assert frames == [frames[0]] * 4
        assert frames[0] != before

    run(program)
