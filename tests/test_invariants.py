# SPDX-License-Identifier: GPL-2.0-or-later
"""Each invariant has an oracle or a test: the manual's table, checked; and those that are tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ksmtrio.oracles.registry import ORACLES
from tests.kernel_world import KernelWorld, ksm, machine, process

ROOT = Path(__file__).parent.parent
TABLE = (ROOT / "ksmtrio" / "manual" / "invariants.md").read_text(encoding="utf-8")
NUMBERS = [*range(1, 17), *range(20, 27), *range(30, 34), 40, 41, 50, 51]
ROWS = {
    cells[0]: cells
    for cells in (
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in TABLE.splitlines()
        if line.startswith("| I")
    )
}
ORACLE_TEXT = "".join(
    path.read_text(encoding="utf-8") for path in sorted((ROOT / "ksmtrio/oracles").glob("*.py"))
)
COUNTERS = re.compile(r"(pages-shared|pages-sharing|pages-unshared|rmap-items)-mismatch")
"""Kinds that the stable tree oracle puts together from the name of a counter."""


def test_every_invariant_has_a_row() -> None:
    assert list(ROWS) == [f"I{number}" for number in NUMBERS]


@pytest.mark.parametrize("number", ROWS)
def test_every_row_names_an_oracle_or_a_test_that_exists(number: str) -> None:
    named = re.findall(r"`([^`]+)`", ROWS[number][2])
    assert named, f"{number}: name an oracle's kind or a test"
    for name in named:
        path, _, function = name.partition("::")
        if function:
            text = (ROOT / path).read_text(encoding="utf-8")
            assert f"def {function}(" in text, f"{number}: no test {name}"


def test_every_kind_that_the_page_names_is_one_that_its_oracle_reports() -> None:
    for oracle, kind in re.findall(r"`([a-z_]+):([a-z_-]+)`", TABLE):
        assert oracle in ORACLES, f"{oracle}:{kind}: no such oracle"
        known = f'"{kind}"' in ORACLE_TEXT or COUNTERS.fullmatch(kind)
        assert known, f"{oracle}:{kind}: no oracle has such a kind"


IN_BLOCK = {"block": 1}


@pytest.mark.parametrize(
    "parts",
    [
        [process("A", 1, 2, 3, **IN_BLOCK)],
        [process("A", 0, "-", 3, **IN_BLOCK)],
        [ksm(["A:0", "B:0"]), *(process(name, 7, mergeable=True, **IN_BLOCK) for name in "AB")],
        [process("A", 1, 2, **IN_BLOCK), '[[process]]\nname = "C"\nforked_from = "A"'],
        [
            ksm(["A:0", "A:1"]),
            process("A", 7, 7, mergeable=True, **IN_BLOCK),
            '[[process]]\nname = "C"\nforked_from = "A"',
        ],
    ],
    ids=["ordinary", "untouched", "merged", "forked", "merged and forked"],
)
@pytest.mark.parametrize("pagevecs", [True, False])
def test_i51_an_offline_succeeds_when_all_in_its_block_can_be_moved(
    parts: list[str], *, pagevecs: bool
) -> None:
    async def body(w: KernelWorld) -> None:
        before = w.contents("A")
        assert await w.offline(1) == 0
        assert w.contents("A") == before

    assert KernelWorld(machine(pagevecs=pagevecs), *parts).go(body).found == []
