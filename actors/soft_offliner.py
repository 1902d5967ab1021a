# SPDX-License-Identifier: GPL-2.0-or-later
"""A task that retires frames of memory. Tests: `tests/unit/test_actors.py`."""

from __future__ import annotations

from typing import ClassVar

from actors.base import UserTask, operation
from ksmtrio.scenario.schema import Op


class SoftOffliner(UserTask):
    """Retires frames; by default those of all pages of its process."""

    needs_pages: ClassVar[bool] = True

    def default_program(self) -> tuple[Op, ...]:
        """Soft-offline the frame of each page."""
        return tuple(operation("soft_offline", page=page) for page in range(self.nr_pages()))
