# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages and addresses: the conversions of `ksmtrio.units`."""

from __future__ import annotations

from ksmtrio.units import (
    HALVES_PER_PAGE,
    PAGE_SHIFT,
    PAGE_SIZE,
    PAGES_PER_PTE_TABLE,
    page_align_down,
    vpn_of,
)


def test_page_size_is_that_of_the_shift() -> None:
    assert PAGE_SIZE == 1 << PAGE_SHIFT == 4096


def test_aligning_down_keeps_page_boundaries_and_drops_the_offset() -> None:
    assert page_align_down(3 * PAGE_SIZE) == 3 * PAGE_SIZE
    assert page_align_down(3 * PAGE_SIZE + 1) == 3 * PAGE_SIZE
    assert page_align_down(4 * PAGE_SIZE - 1) == 3 * PAGE_SIZE


def test_page_number_counts_pages() -> None:
    assert [vpn_of(address) for address in (0, PAGE_SIZE - 1, PAGE_SIZE)] == [0, 0, 1]


def test_a_page_table_page_covers_two_megabytes() -> None:
    assert PAGES_PER_PTE_TABLE * PAGE_SIZE == 2 << 20


def test_a_page_is_modelled_as_two_halves() -> None:
    assert HALVES_PER_PAGE == 2
