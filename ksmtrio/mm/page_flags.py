# SPDX-License-Identifier: GPL-2.0-or-later
"""Page flag bits.

Kernel: include/linux/page-flags.h, v2.6.33 (the bits that matter in this slice).
"""

from __future__ import annotations

from typing import Final

PG_LOCKED: Final = 1 << 0
PG_REFERENCED: Final = 1 << 1
PG_UPTODATE: Final = 1 << 2
PG_DIRTY: Final = 1 << 3
PG_LRU: Final = 1 << 4
PG_ACTIVE: Final = 1 << 5
PG_RESERVED: Final = 1 << 6
PG_WRITEBACK: Final = 1 << 7
PG_SWAPCACHE: Final = 1 << 8
PG_BUDDY: Final = 1 << 9
PG_SWAPBACKED: Final = 1 << 10
PG_UNEVICTABLE: Final = 1 << 11
PG_MLOCKED: Final = 1 << 12
PG_HWPOISON: Final = 1 << 13
"""Never to be used again: set by soft offline, kept even by an offline section."""

PAGE_FLAG_NAMES: Final[dict[int, str]] = {
    PG_LOCKED: "PG_locked",
    PG_REFERENCED: "PG_referenced",
    PG_UPTODATE: "PG_uptodate",
    PG_DIRTY: "PG_dirty",
    PG_LRU: "PG_lru",
    PG_ACTIVE: "PG_active",
    PG_RESERVED: "PG_reserved",
    PG_WRITEBACK: "PG_writeback",
    PG_SWAPCACHE: "PG_swapcache",
    PG_BUDDY: "PG_buddy",
    PG_SWAPBACKED: "PG_swapbacked",
    PG_UNEVICTABLE: "PG_unevictable",
    PG_MLOCKED: "PG_mlocked",
    PG_HWPOISON: "PG_hwpoison",
}
"""Bit -> kernel name."""

CHECK_AT_FREE: Final = (
    PG_LRU
    | PG_LOCKED
    | PG_BUDDY
    | PG_WRITEBACK
    | PG_RESERVED
    | PG_SWAPCACHE
    | PG_ACTIVE
    | PG_UNEVICTABLE
    | PG_MLOCKED
    | PG_HWPOISON
)
"""PAGE_FLAGS_CHECK_AT_FREE: none of these may be set when a page is freed."""


def flag_names(flags: int) -> str:
    """Return the set bits by kernel name, joined with ``|``."""
    return "|".join(name for bit, name in PAGE_FLAG_NAMES.items() if flags & bit) or "0"
