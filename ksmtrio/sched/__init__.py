# SPDX-License-Identifier: GPL-2.0-or-later
"""Deterministic runtime: actors, cells, choices, virtual time.

The names below are public: with them one writes a program of tasks over cells and locks that
`ksmtrio run`, `stress` and `explore` take as ``FILE.py:NAME``.
"""

from ksmtrio.sched.cell import Cell, Counter, Flags
from ksmtrio.sched.program import IdealLock, Program, bind

__all__ = ["Cell", "Counter", "Flags", "IdealLock", "Program", "bind"]
