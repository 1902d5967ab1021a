# SPDX-License-Identifier: GPL-2.0-or-later
"""What move_pages, mbind and migrate_pages do to merged pages and to others."""

from __future__ import annotations

from functools import partial

from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_MOVE_ALL
from tests.conformance.processes import Process
from tests.conformance.programs import program
from tests.conformance.world import Bench


@program("E1move")
async def move_pages_of_every_kind(b: Bench) -> None:
    a = await b.mk("A", 61, 62, *[60] * 4, None, None, 63)
    await a.read(7)
    await a.merge(2, 6)
    await b.scan(3)
    await b.snap("before")
    b.note("query", **await a.query(0, 10))
    b.note("to1", **await a.move_pages(0, 10, node=1))
    await b.snap("after")
    b.note("query_after", **await a.query(0, 10))
    b.note("to1_again", **await a.move_pages(0, 10, node=1))
    b.note("to0", **await a.move_pages(0, 10, node=0))
    await b.snap("after_back")
    b.note("bad_node", **await a.move_pages(0, 3, node=7))
    await b.scan(3)
    await b.snap("scan3")


@program("E2")
async def move_pages_of_a_forked_process(b: Bench) -> None:
    a = await b.mk("A", 64, 65, 66)
    await a.fork("B")
    await b.drain()
    await b.snap("before")
    b.note("to1_move", **await a.move_pages(0, 3, node=1))
    b.note("to1_moveall", **await a.move_pages(0, 3, node=1, flags=MPOL_MF_MOVE_ALL))
    await b.snap("after")


@program("E4")
async def move_pages_between_two_scans(b: Bench) -> None:
    a = await b.mk("A", *[71] * 3, 72)
    await a.merge()
    await b.scan()
    await b.snap("scan1")
    b.note("to1", **await a.move_pages(0, 4, node=1))
    await b.snap("moved")
    for number in (2, 3, 4):
        await b.scan()
        await b.snap(f"scan{number}")


async def four_private_and_four_merged(b: Bench, node: int) -> Process:
    a = await b.mk("A", 81, 82, 83, 84, *[80] * 4, node=node)
    await a.merge(4, 8)
    await b.scan(3)
    await b.drain()
    await b.snap("before")
    return a


async def mbind_over(b: Bench, *, first: int, flags: int) -> None:
    a = await four_private_and_four_merged(b, node=0)
    b.note("mbind", **await a.mbind(first, 4, (1,), flags))
    await b.snap("after")
    await b.scan(2)
    await b.snap("scan2")


async def mbind_over_pages_that_are_there(b: Bench, *, flags: int) -> None:
    a = await four_private_and_four_merged(b, node=1)
    b.note("mbind", **await a.mbind(0, 8, (1,), flags))
    await b.snap("after")


for flags in range(6):
    program(f"F_private_{flags}")(partial(mbind_over, first=0, flags=flags))
for flags in (1, 3, 5):
    program(f"F_mixed_{flags}")(partial(mbind_over, first=2, flags=flags))
for flags in (1, 3):
    program(f"F_already_{flags}")(partial(mbind_over_pages_that_are_there, flags=flags))


@program("F_err")
async def mbind_with_odd_arguments(b: Bench) -> None:
    a = await b.mk("A", *[85] * 8)
    b.note(
        "ret",
        bad_flags=(await a.mbind(0, 8, (1,), 64))["ret"],
        empty_range=(await a.mbind(0, 0, (1,), MPOL_MF_MOVE))["ret"],
        node_absent=(await a.mbind(0, 8, (6,), MPOL_MF_MOVE))["ret"],
        unmapped=(await a.mbind(16, 8, (1,), MPOL_MF_MOVE))["ret"],
        hole_at_end=(await a.mbind(4, 8, (1,), MPOL_MF_MOVE))["ret"],
    )


async def migrate_there_and_back(b: Bench, a: Process) -> None:
    b.note("migrate_pages_0_to_1", ret=await a.migrate_pages(0, 1))
    await b.snap("after")
    b.note("migrate_pages_1_to_0", ret=await a.migrate_pages(1, 0))
    await b.snap("after_back")


@program("G0")
async def migrate_pages_of_one_page(b: Bench) -> None:
    await migrate_there_and_back(b, await b.mk("A", 91))


@program("G1")
async def migrate_pages_of_merged_pages(b: Bench) -> None:
    a = await b.mk("A", 91, 92, 93, 94, *[90] * 4)
    await a.merge(4, 8)
    await b.scan(3)
    await b.snap("before")
    await migrate_there_and_back(b, a)
    await b.scan(3)
    await b.snap("scan3")
