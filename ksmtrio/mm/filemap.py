# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for PG_writeback. Kernel: mm/filemap.c, v2.6.33.

The page lock itself is `page.page_lock`. Functions take the caller's label and add themselves.
Tests: `tests/unit/test_page_io.py`.
"""

from __future__ import annotations

from ksmtrio.errors import KernelBug
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.page_flags import PG_WRITEBACK


async def wait_on_page_writeback(page: Page, at: str) -> None:
    """wait_on_page_writeback(): sleep until the page is on disk.

    Points: ``/wait_on_page_writeback`` (look), ``#2`` (sleep).
    """
    at = f"{at}/wait_on_page_writeback"
    if not await page.flags.test(at, PG_WRITEBACK):
        return
    await page.page_waitqueue.wait_event(
        f"{at}#2", lambda: not page.flags.has(PG_WRITEBACK), idle=False
    )


async def end_page_writeback(page: Page, at: str) -> None:
    """end_page_writeback(): the page is on disk; wake who waits for that."""
    if not await page.flags.test_and_clear(at, PG_WRITEBACK):
        raise KernelBug(at, f"BUG in end_page_writeback: pfn {page.pfn} is not under writeback")
    await page.page_waitqueue.wake_up(f"{at}/wake_up_page")
