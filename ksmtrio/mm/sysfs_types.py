# SPDX-License-Identifier: GPL-2.0-or-later
"""Directories of attributes under /sys, as subsystems register them at boot.

Kernel: include/linux/sysfs.h and fs/sysfs/, v2.6.33. Opening and reading them is uapi's. Differs:
removing a directory does not wait for those who are inside one of its attributes. Tests:
`tests/unit/test_sysfs.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import attrs

from ksmtrio.sched.cell import Cell, SharedObject
from ksmtrio.sched.runtime import Runtime

Show = Callable[[], Awaitable[str]]
"""What a read gives."""

Store = Callable[[str], Awaitable[int]]
"""What a write does: returns the number of bytes taken, or a negative errno."""


@attrs.frozen(eq=False)
class Attribute:
    """struct attribute with its methods: one file, for reading, writing or both."""

    show: Show | None = None
    store: Store | None = None


class SysfsDirectory(SharedObject):
    """A kobject's directory.

    Attributes:
        path: where it is, from the root.
        attributes: file name -> attribute.
        linked: still there; cleared when the kobject goes away.
    """

    __slots__ = ("attributes", "linked", "path")

    def __init__(self, rt: Runtime, path: str, attributes: Mapping[str, Attribute]) -> None:
        super().__init__(rt)
        self.path = path
        self.attributes = dict(attributes)
        self.linked: Cell[bool] = Cell(self, "linked", value=True)

    @property
    def name(self) -> str:
        """Its path."""
        return self.path
