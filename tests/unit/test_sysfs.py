# SPDX-License-Identifier: GPL-2.0-or-later
"""sysfs by path: files, directories, and what is neither."""

from __future__ import annotations

import pytest

from ksmtrio.mm.page_flags import PG_HWPOISON
from ksmtrio.uapi.sysfs import MEMORY, eject_memory, strict_strtoull
from ksmtrio.units import PAGE_SHIFT
from tests.kernel_world import KernelWorld, answer, process, run

STATE = f"{MEMORY}/memory1/state"
SOFT = f"{MEMORY}/soft_offline_page"


def test_state_of_a_memory_block_is_read_and_written() -> None:
    async def body(w: KernelWorld) -> None:
        sysfs = w.machine.sysfs
        assert await sysfs.read(STATE) == "online\n"
        assert await sysfs.write(STATE, "offline\n") == 8
        assert await sysfs.read(STATE) == "offline\n"
        assert await answer(sysfs.write(STATE, "offline")) == -22
        assert await answer(sysfs.write(STATE, "")) == -22

    run(body, process("A", 1))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", -2),
        ("sys/devices", -2),
        ("/sys/nothing", -2),
        (f"{MEMORY}/memory7/state", -2),
        ("/sys", -21),
        (f"{MEMORY}/memory1/", -21),
        (f"{STATE}/x", -20),
    ],
)
def test_other_paths_are_no_files(path: str, expected: int) -> None:
    async def body(w: KernelWorld) -> None:
        assert await answer(w.machine.sysfs.read(path)) == expected
        assert await answer(w.machine.sysfs.write(path, "online")) == expected

    run(body, process("A", 1))


def test_soft_offline_takes_a_physical_address() -> None:
    async def body(w: KernelWorld) -> None:
        sysfs, old = w.machine.sysfs, w.page("A:0")
        assert await answer(sysfs.read(SOFT)) == -13
        assert await answer(sysfs.write(SOFT, "page")) == -22
        assert await answer(sysfs.write(SOFT, "0x100000000")) == -6
        assert await sysfs.write(SOFT, f"{old.pfn << PAGE_SHIFT:#x}\n") > 0
        assert w.page("A:0") is not old
        assert old.flags.has(PG_HWPOISON)

    run(body, process("A", 1))


@pytest.mark.parametrize(
    ("text", "base", "number"),
    [
        ("12", 10, 12),
        ("12\n", 10, 12),
        ("012", 10, 12),
        ("012", 0, 10),
        ("0x1F", 0, 31),
        ("0", 0, 0),
        ("18446744073709551615", 10, 2**64 - 1),
        ("18446744073709551616", 10, None),
        ("9" * 5000, 10, None),
        ("0x1F", 10, None),
        ("", 10, None),
        ("\n", 10, None),
        ("1 ", 10, None),
        ("-1", 10, None),
        ("08", 0, None),
    ],
)
def test_numbers_are_read_strictly(text: str, base: int, number: int | None) -> None:
    assert strict_strtoull(text, base=base) == number


def test_a_removed_section_has_no_files() -> None:
    async def body(w: KernelWorld) -> None:
        sysfs = w.machine.sysfs
        await sysfs.write(STATE, "offline")
        assert await eject_memory(w.g, w.machine.memory_blocks[1]) == 0
        assert await answer(sysfs.read(STATE)) == -2
        assert await answer(sysfs.write(STATE, "online")) == -2

    run(body, process("A", 1))
