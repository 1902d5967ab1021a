# SPDX-License-Identifier: GPL-2.0-or-later
"""A user process of the emulated counterpart, and the calls it makes.

It holds one private mapping, below its stack, and remembers what it stored there. All it does goes
through system calls; only a look at its page tables is straight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from ksmtrio.mm.ksm import MADV_MERGEABLE, MADV_UNMERGEABLE
from ksmtrio.mm.mempolicy import MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, MPOL_MF_STRICT
from ksmtrio.mm.mempolicy_alloc import MPOL_BIND
from ksmtrio.mm.migrate_syscalls import sys_move_pages
from ksmtrio.mm.mm_types import MmStruct, Page, Pte
from ksmtrio.mm.mremap import MREMAP_FIXED, MREMAP_MAYMOVE
from ksmtrio.uapi import pipe, procfs, syscalls, uaccess
from ksmtrio.units import PAGE_SIZE, Nid, Vaddr
from tests.kernel_world import answer

if TYPE_CHECKING:
    from tests.conformance.world import Bench

FIRST_ADDRESS = 0x80 * PAGE_SIZE
"""Where a process maps its pages; its stack, inherited from init, lies above."""

NOT_WRITTEN = -9999
FLAG_NAMES = {MPOL_MF_MOVE: "MOVE", MPOL_MF_MOVE_ALL: "MOVE_ALL", MPOL_MF_STRICT: "STRICT"}


@attrs.define(eq=False)
class Process:
    """One process of a program.

    Attributes:
        contents: what it last stored in each page; None: never touched, or unmapped again.
        last_seen: frame of each page when a snapshot last saw it present.
    """

    bench: Bench
    name: str
    mm: MmStruct
    contents: list[int | None]
    last_seen: dict[int, int] = attrs.field(factory=dict)
    alive: bool = True

    @property
    def nr_pages(self) -> int:
        """Length of its mapping in pages."""
        return len(self.contents)

    def address(self, index: int) -> Vaddr:
        """Return the address of a page."""
        return FIRST_ADDRESS + index * PAGE_SIZE

    def span(self, first: int, end: int | None) -> tuple[Vaddr, int]:
        """Return address and length in bytes of pages [first, end)."""
        last = self.nr_pages if end is None else end
        return self.address(first), (last - first) * PAGE_SIZE

    def pte(self, index: int) -> Pte:
        """Return the pte of a page."""
        return self.mm.pte(self.address(index)).value

    def page(self, index: int) -> Page:
        """Return the frame that a page maps."""
        return self.bench.world.g.pages[self.pte(index).pfn]

    def frames(self) -> list[int | None]:
        """Return the frame of each page; None: absent."""
        return [pte.pfn if pte.present else None for pte in map(self.pte, range(self.nr_pages))]

    def nodes(self) -> str:
        """Return the node of each page, a character a page; ``-``: absent."""
        g = self.bench.world.g
        return "".join("-" if pfn is None else str(g.pages[pfn].nid) for pfn in self.frames())

    async def policy(self) -> str:
        """Return the policy of its mapping, as numa_maps spells it."""
        text = await procfs.numa_maps(self.bench.world.g, self.mm)
        words = [line.split() for line in text.splitlines()]
        [policy] = [word[1] for word in words if int(word[0], 16) == FIRST_ADDRESS]
        return policy

    def block(self, index: int) -> int:
        """Return the memory block that holds a page."""
        return self.bench.world.g.section_of(self.pte(index).pfn).number

    def in_block(self, block: int) -> str:
        """Return a letter a page: in the block, not, or absent."""
        section = self.bench.world.g.sections[block]
        return "".join(
            "-" if not pte.present else "nY"[section.start_pfn <= pte.pfn < section.end_pfn]
            for pte in map(self.pte, range(self.nr_pages))
        )

    # -- calls, on pages [first, end) or from page `first` on -----------------------------------

    async def merge(self, first: int = 0, end: int | None = None) -> int:
        """madvise(MADV_MERGEABLE)."""
        return await self._madvise(first, end, MADV_MERGEABLE)

    async def unmerge(self, first: int = 0, end: int | None = None) -> int:
        """madvise(MADV_UNMERGEABLE)."""
        return await self._madvise(first, end, MADV_UNMERGEABLE)

    async def _madvise(self, first: int, end: int | None, advice: int) -> int:
        call = syscalls.madvise(self.bench.world.g, self.mm, *self.span(first, end), advice)
        return await answer(call)

    async def write(self, index: int, content: int) -> None:
        """Store into a page."""
        for half in (0, 1):
            g, address = self.bench.world.g, self.address(index)
            assert await uaccess.store(g, self.mm, address, half, content) == 0
        self.contents[index] = content

    async def read(self, index: int) -> tuple[int, int]:
        """Load a page."""
        halves = []
        for half in (0, 1):
            g, address = self.bench.world.g, self.address(index)
            err, value = await uaccess.load(g, self.mm, address, half)
            assert err == 0
            halves.append(value)
        return halves[0], halves[1]

    async def munmap(self, first: int = 0, end: int | None = None) -> int:
        """munmap()."""
        last = self.nr_pages if end is None else end
        self.contents[first:last] = [None] * (last - first)
        return await answer(syscalls.munmap(self.bench.world.g, self.mm, *self.span(first, last)))

    async def mremap(self, first: int, end: int, *, to: int) -> int:
        """mremap() of pages [first, end) over those from page `to` on; return the address."""
        start, length = self.span(first, end)
        flags = MREMAP_MAYMOVE | MREMAP_FIXED
        target = self.address(to)
        call = syscalls.mremap(self.bench.world.g, self.mm, start, length, length, flags, target)
        contents = self.contents[first:end]
        self.contents[first:end] = [None] * len(contents)
        self.contents[to : to + len(contents)] = contents
        return await answer(call)

    async def mlock(self) -> int:
        """mlock() everything."""
        return await answer(syscalls.mlock(self.bench.world.g, self.mm, *self.span(0, None)))

    async def munlock(self) -> int:
        """munlock() everything."""
        return await answer(syscalls.munlock(self.bench.world.g, self.mm, *self.span(0, None)))

    async def pin(self, index: int) -> None:
        """Put a page into a pipe, which holds a reference on it."""
        await pipe.vmsplice(self.bench.world.g, self.mm, self.address(index))

    async def unpin(self, index: int) -> None:
        """Take it out again."""
        assert await pipe.drain(self.bench.world.g, self.mm, self.address(index)) == 1

    async def fork(self, name: str) -> Process:
        """fork()."""
        mm = await syscalls.fork(self.bench.world.g, self.mm, name)
        return self.bench.add(Process(self.bench, name, mm, list(self.contents)))

    async def exit(self) -> None:
        """_exit()."""
        self.alive = False
        await syscalls.exit_(self.bench.world.g, self.mm)

    async def move_pages(
        self, first: int, nr_pages: int, node: Nid, flags: int = MPOL_MF_MOVE
    ) -> dict[str, Any]:
        """move_pages() to a node; return question and answer."""
        question = {"node": node, "flags": FLAG_NAMES[flags]}
        return question | await self._move_pages(first, [node] * nr_pages, nr_pages, flags)

    async def query(self, first: int, nr_pages: int) -> dict[str, Any]:
        """Ask move_pages() where pages are; return question and answer."""
        return {"nodes": None} | await self._move_pages(first, None, nr_pages, 0)

    async def _move_pages(
        self, first: int, nodes: list[Nid] | None, nr_pages: int, flags: int
    ) -> dict[str, Any]:
        addresses = [self.address(first + i) for i in range(nr_pages)]
        status = [NOT_WRITTEN] * nr_pages
        g = self.bench.world.g
        ret = await sys_move_pages(g, self.mm, nr_pages, addresses, nodes, status, flags)
        return {"call": "move_pages", "first": first, "n": nr_pages, "ret": ret, "status": status}

    async def mbind(
        self, first: int, nr_pages: int, nodes: Sequence[Nid], flags: int, mode: int = MPOL_BIND
    ) -> dict[str, Any]:
        """mbind(); return question and answer."""
        span = self.address(first), nr_pages * PAGE_SIZE
        call = syscalls.mbind(self.bench.world.g, self.mm, *span, mode, nodes, flags)
        names = [name for flag, name in FLAG_NAMES.items() if flags & flag]
        return {
            "call": "mbind",
            "first": first,
            "n": nr_pages,
            "nodemask": sum(1 << node for node in nodes),
            "flags": " ".join(names) or "none",
            "ret": await answer(call),
        }

    async def migrate_pages(self, old: Nid, new: Nid) -> int:
        """migrate_pages() from one node to another."""
        return await answer(syscalls.migrate_pages(self.bench.world.g, self.mm, (old,), (new,)))
