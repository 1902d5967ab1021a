# SPDX-License-Identifier: GPL-2.0-or-later
"""Numbers in text that user space wrote. Kernel: lib/vsprintf.c, v2.6.33.

Tests: `tests/unit/test_vsprintf.py`.
"""

from __future__ import annotations

from errno import EINVAL
from typing import Final

UINT_MAX: Final = 2**32 - 1
_ULONG_BITS: Final = 64
_DIGITS: Final = "0123456789abcdef"


def simple_strtoul(text: str, base: int) -> tuple[int, int]:
    """simple_strtoul(): read digits as far as they go, modulo 2**64; no sign, no leading blanks.

    Args:
        text: what user space wrote.
        base: 0: hexadecimal after ``0x`` and a digit, octal after ``0``, decimal otherwise.

    Returns:
        (value, number of characters read; 0 if there was no digit).
    """
    prefix = text[:2].lower() == "0x"
    if base == 0:
        hexadecimal = prefix and text[2:3].lower() in tuple(_DIGITS)
        base = 16 if hexadecimal else 8 if text.startswith("0") else 10
    start = 2 if base == 16 and prefix else 0
    value, end = 0, start
    for char in text[start:].lower():
        digit = _DIGITS.find(char)
        if not 0 <= digit < base:
            break
        value = value * base + digit
        end += 1
    return value % 2**_ULONG_BITS, end


def strict_strtoul(text: str, base: int) -> tuple[int, int]:
    """strict_strtoul(): a number and nothing else, except one newline at the end.

    A number too large for an unsigned long wraps around, as nothing looks for that.

    Returns:
        (0 or -EINVAL, value).
    """
    text = text.partition("\0")[0]
    value, end = simple_strtoul(text, base)
    if end == 0 or text[end:] not in ("", "\n"):
        return -EINVAL, 0
    return 0, value
