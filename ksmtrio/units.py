# SPDX-License-Identifier: GPL-2.0-or-later
"""Names for the integers that kernel code mixes up: frame numbers, nodes, addresses.

Owns the page size and the conversions between addresses and page numbers.
Tests: `tests/unit/test_units.py`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

Pfn: TypeAlias = int
Nid: TypeAlias = int
Vaddr: TypeAlias = int
Vpn: TypeAlias = int

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
PAGES_PER_PTE_TABLE: Final = 512
TASK_SIZE: Final = (1 << 47) - PAGE_SIZE
"""End of the addresses that a process can have (x86-64)."""
ULONG_MASK: Final = (1 << 64) - 1
"""An unsigned long has 64 bits: what a system call makes of any integer."""
HALVES_PER_PAGE: Final = 2
"""Page content is modelled as two words, half a page each, so that a copy can tear."""


def page_align(length: int) -> int:
    """PAGE_ALIGN(): round up to whole pages; what is almost the whole word becomes 0."""
    return (length + PAGE_SIZE - 1) & -PAGE_SIZE & ULONG_MASK
