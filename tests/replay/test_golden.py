# SPDX-License-Identifier: GPL-2.0-or-later
"""Every golden trace replays bit for bit, and is what its exact schedule gives today."""

from __future__ import annotations

from pathlib import Path

import pytest

from ksmtrio.execution import replay_trace
from tests.golden import FOLDER, GOLDEN, write

EXPECTED = {
    "race_a": "bugs:VM_BUG_ON@replace_page.3b",
    "race_a2": "page_state:mapped-page-lost-mapping@migrate_page_copy.7<-replace_page.3b",
    "race_b": "slab:use-after-free@ksm_migrate_page.2<-remove_node_from_stable_tree.3",
    "race_c": "slab:use-after-free@page_referenced_ksm.3.1<-drop_anon_vma.4",
    "race_d": "slab:use-after-free@rmap_walk_ksm.2<-remove_node_from_stable_tree.3",
    "race_e": "bugs:VM_BUG_ON@replace_page.3b",
    "foreign_unlock": "locks:foreign-unlock@ksm_memory_callback.5<-ksm_scan_thread.2",
    "half_freed_page": "bugs:BUG_ON@__offline_isolated_pages.2#2",
}


def test_each_file_has_its_schedule() -> None:
    assert {path.stem for path in FOLDER.glob("*.jsonl*")} == set(GOLDEN)


@pytest.mark.parametrize("name", GOLDEN)
def test_it_replays_record_by_record(name: str) -> None:
    result = replay_trace(FOLDER / f"{name}.jsonl")
    assert result.difference is None
    assert result.same


@pytest.mark.parametrize("name", GOLDEN)
def test_it_shows_what_it_is_named_after(name: str) -> None:
    findings = replay_trace(FOLDER / f"{name}.jsonl").findings
    if name in EXPECTED:
        assert EXPECTED[name] in findings
    else:
        assert findings == ()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_schedule_still_gives_the_same_records(name: str, tmp_path: Path) -> None:
    """The header is left out: it names versions. If this fails: `python -m tests.golden`."""
    fresh = write(name, tmp_path).read_text(encoding="utf-8").splitlines()
    kept = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    assert fresh[1:] == kept[1:]
