# SPDX-License-Identifier: GPL-2.0-or-later
"""The marks that tell which race an execution came near, or showed.

Used by tests and reports, never by oracles. Tests: `tests/races/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ksmtrio.trace.marks import Mark

MARKS: Final[tuple[type[Mark], ...]] = ()
"""All marks, in the order in which they are reported."""
