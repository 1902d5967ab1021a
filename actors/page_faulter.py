# SPDX-License-Identifier: GPL-2.0-or-later
"""A task whose memory accesses fault. Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from typing import ClassVar

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class PageFaulter(UserTask):
    """Loads and stores; by default reads and writes each of its pages."""

    needs_pages: ClassVar[bool] = True

    def default_program(self) -> tuple[Op, ...]:
        """Load, then store, each page."""
        program: list[Op] = []
        for page in range(self.nr_pages()):
            program.append(operation("load", page=page, half=0))
            program.append(operation("store", page=page, value=1000 + page, half=None))
        return tuple(program)
