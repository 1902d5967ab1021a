# SPDX-License-Identifier: GPL-2.0-or-later
"""Small traces for tests, made by hand: no machine is behind them."""

from __future__ import annotations

from pathlib import Path

from ksmtrio.kconfig import build_kernel
from ksmtrio.sched.strategies import StrategySpec
from ksmtrio.trace.format import (
    BodyRecord,
    ChoiceRecord,
    EventRecord,
    FindingRecord,
    Footer,
    ScenarioText,
    build_header,
    encode,
)
from ksmtrio.trace.writer import TraceWriter

HEADER = build_header(
    (ScenarioText("s", "s.toml", "format = 1\n"), build_kernel()), StrategySpec("random", 3)
)
EVENT = EventRecord(1, "a", "f.1", "read", {"target": "x.y", "value": 0})
CHOICE = ChoiceRecord(1, "a", "f.1", "schedule", 1, 2, "b")
FINDING = FindingRecord("o:k@f.1", "o", "k", "f.1", "", "BUG: k", ["a"], True, 1)
FOOTER = Footer("finding", 1, "done", 1, "0" * 32, "f" * 32)
BODY: tuple[BodyRecord, ...] = (CHOICE, EVENT, FINDING)


def write(path: Path, body: tuple[BodyRecord, ...] = BODY) -> Path:
    """Write a whole trace."""
    with TraceWriter(path) as writer:
        writer.header(HEADER)
        for record in body:
            writer.body(record, encode(record))
        writer.footer(FOOTER)
    return path
