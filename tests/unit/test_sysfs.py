# SPDX-License-Identifier: GPL-2.0-or-later
"""sysfs: finding files, and who may do what with them."""

from __future__ import annotations

from errno import EACCES, EINVAL, EISDIR, ENOENT, ENOTDIR, ENXIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ksmtrio.mm.page_flags import PG_HWPOISON
from ksmtrio.uapi import sysfs
from ksmtrio.units import PAGE_SHIFT, PAGE_SIZE
from tests.kernel_world import KernelWorld, answer, process, run

KSM = "/sys/kernel/mm/ksm"
MEMORY = "/sys/devices/system/memory"


@pytest.mark.parametrize(
    ("path", "err"),
    [
        ("", ENOENT),
        ("sys/kernel/mm/ksm/run", ENOENT),
        ("/sys/kernel/mm/ksm/nothing", ENOENT),
        ("/sys/kernel/mm/nothing", ENOENT),
        ("/proc/meminfo", ENOENT),
        (f"{MEMORY}/memory99/state", ENOENT),
        ("/", EISDIR),
        ("/sys/kernel", EISDIR),
        (f"{KSM}", EISDIR),
        (f"{KSM}/", EISDIR),
        (f"{MEMORY}/memory0", EISDIR),
        (f"{KSM}/run/", ENOTDIR),
        (f"{KSM}/run/deeper", ENOTDIR),
    ],
)
def test_what_is_no_file_is_neither_read_nor_written(path: str, err: int) -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.read(path) == -err
        assert await w.write(path, "1") == -err

    run(body)


def test_path_may_be_spelled_with_more_slashes() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.read("//sys/kernel/./mm///ksm/run") == "1"

    run(body)


@pytest.mark.parametrize(
    "path",
    [
        *(f"{KSM}/pages_{name}" for name in ("shared", "sharing", "unshared", "volatile")),
        f"{KSM}/full_scans",
        *(f"{MEMORY}/memory1/{name}" for name in ("phys_index", "phys_device", "removable")),
    ],
)
def test_read_only_file_is_not_written_even_by_root(path: str) -> None:
    async def body(w: KernelWorld) -> None:
        assert isinstance(await w.read(path), str)
        for text in ("", "1"):
            assert await w.write(path, text) == -EACCES

    run(body)


def test_write_only_file_is_not_read_and_takes_a_physical_address() -> None:
    async def body(w: KernelWorld) -> None:
        path, old = f"{MEMORY}/soft_offline_page", w.page("A:0")
        assert await w.read(path) == -EACCES
        assert await w.write(path, "page") == -EINVAL
        assert await w.write(path, "0x100000000") == -ENXIO
        assert await w.write(path, f"{old.pfn << PAGE_SHIFT:#x}\n") == 0
        assert w.page("A:0") is not old
        assert old.flags.has(PG_HWPOISON)

    run(body, process("A", 1))


def test_a_removed_section_has_no_files() -> None:
    async def body(w: KernelWorld) -> None:
        path = f"{MEMORY}/memory1/state"
        assert await w.write(path, "offline\n") == 0
        assert await w.read(path) == "offline"
        assert await sysfs.eject_memory(w.g, w.machine.memory_blocks[1]) == 0
        for gone in (path, f"{MEMORY}/memory1"):
            assert await w.read(gone) == -ENOENT
            assert await w.write(gone, "online") == -ENOENT

    run(body, process("A", 1))


def test_of_no_text_at_all_the_file_is_not_told() -> None:
    async def body(w: KernelWorld) -> None:
        for path in (f"{KSM}/run", f"{MEMORY}/memory1/state"):
            assert await answer(sysfs.write(w.g, path, "")) == 0

    run(body)


def test_text_beyond_a_page_is_cut_off() -> None:
    async def body(w: KernelWorld) -> None:
        path = f"{MEMORY}/memory1/state"
        written = await answer(sysfs.write(w.g, path, "offline".ljust(2 * PAGE_SIZE)))
        assert written == PAGE_SIZE - 1
        assert await w.online(1) == 0

    run(body)


KNOBS = ("run", "pages_to_scan", "sleep_millisecs", "full_scans", "", "nothing")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([f"{KSM}/{name}" for name in KNOBS] + [f"{MEMORY}/memory1/state"]),
    st.text(alphabet="0123456789 \nonlief-x\0", max_size=24),
)
def test_any_write_answers_with_an_errno_or_the_number_of_bytes(path: str, text: str) -> None:
    async def body(w: KernelWorld) -> None:
        written = await answer(sysfs.write(w.g, path, text))
        assert written == len(text) or written in (-EINVAL, -EACCES, -ENOENT, -EISDIR)

    run(body)
