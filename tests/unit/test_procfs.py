# SPDX-License-Identifier: GPL-2.0-or-later
"""procfs: numa_maps and pagemap of a process that is there, and of one that is not."""

from __future__ import annotations

from ksmtrio.uapi import procfs
from tests.kernel_world import KernelWorld, answer, process, run


def test_pagemap_shows_the_frame_of_a_page_that_is_present() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        assert await procfs.pagemap(w.g, mm, w.address("A:0")) == w.page("A:0").pfn
        assert await procfs.pagemap(w.g, mm, w.address("A:1")) is None
        await w.load("A:1")
        assert w.pte("A:1").special
        for address in (w.address("A:1"), 0, -1, 1 << 70):
            assert await procfs.pagemap(w.g, mm, address) is None

    run(body, process("A", 1, "-"))


def test_numa_maps_has_a_line_for_each_area() -> None:
    async def body(w: KernelWorld) -> None:
        text = await procfs.numa_maps(w.g, w.mm("A"))
        assert text == "00100000 default anon=1 dirty=1 N0=1\n"

    run(body, process("A", 1, "-"))


def test_a_process_that_exited_has_no_files() -> None:
    async def body(w: KernelWorld) -> None:
        mm = w.mm("A")
        await w.exit("A")
        assert await answer(procfs.numa_maps(w.g, mm)) == -3
        assert await answer(procfs.pagemap(w.g, mm, 0)) == -3

    run(body, process("A", 1))
