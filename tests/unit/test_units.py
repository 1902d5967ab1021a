# SPDX-License-Identifier: GPL-2.0-or-later
"""Pages and addresses: the conversions of `ksmtrio.units`."""

from __future__ import annotations

from ksmtrio.units import (
    HALVES_PER_PAGE,
    PAGE_SHIFT,
    PAGE_SIZE,
    PAGES_PER_PTE_TABLE,
)


def test_page_size_is_that_of_the_shift() -> None:
    assert PAGE_SIZE == 1 << PAGE_SHIFT == 4096


def test_a_page_table_page_covers_two_megabytes() -> None:
    assert PAGES_PER_PTE_TABLE * PAGE_SIZE == 2 << 20


def test_a_page_is_modelled_as_two_halves() -> None:
    assert HALVES_PER_PAGE == 2
