# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers in text, as the kernel of the time read them."""

from __future__ import annotations

from errno import EINVAL

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksmtrio.mm.vsprintf import simple_strtoul, strict_strtoul


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("10", 10),
        ("10\n", 10),
        ("007", 7),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 0),
        ("18446744073709551618\n", 2),
        ("1\0 anything", 1),
        ("1\n\0\n", 1),
    ],
)
def test_decimal_numbers(text: str, value: int) -> None:
    assert strict_strtoul(text, 10) == (0, value)


@pytest.mark.parametrize(
    "text",
    ["", "\n", " ", "10 ", " 10", "+1", "-1", "0x10", "1a", "one", "1\n\n", "\n1", "1 2", "\0001"],
)
def test_what_is_not_a_decimal_number_alone_is_invalid(text: str) -> None:
    assert strict_strtoul(text, 10) == (-EINVAL, 0)


@pytest.mark.parametrize(
    ("text", "value"), [("0x1F", 31), ("0Xff\n", 255), ("017", 15), ("17", 17), ("0", 0)]
)
def test_base_zero_goes_by_the_prefix(text: str, value: int) -> None:
    assert strict_strtoul(text, 0) == (0, value)


@pytest.mark.parametrize("text", ["08", "0x", "0xg", "12f"])
def test_base_zero_takes_only_digits_of_its_base(text: str) -> None:
    assert strict_strtoul(text, 0)[0] == -EINVAL


def test_prefix_without_a_digit_counts_as_read_where_the_base_is_given() -> None:
    assert simple_strtoul("0xg", 16) == (0, 2)


@given(st.text(alphabet="0123456789abcdefxX \n-+\0", max_size=24), st.sampled_from([0, 10, 16]))
def test_any_text_gives_a_number_of_64_bits_or_is_invalid(text: str, base: int) -> None:
    err, value = strict_strtoul(text, base)
    assert err in (0, -EINVAL)
    assert 0 <= value < 2**64


@given(st.integers(0, 2**64 - 1))
def test_every_number_is_read_back(value: int) -> None:
    assert strict_strtoul(f"{value}\n", 10) == strict_strtoul(f"{value:#x}", 0) == (0, value)
