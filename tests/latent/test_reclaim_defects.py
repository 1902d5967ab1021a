# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of reclaim's looks at pages that it has not locked, with their fixes."""

from __future__ import annotations

from typing import Any

import pytest

from ksmtrio.campaign.known import load_known_issues, match_known
from ksmtrio.mm.ksm_rmap import page_referenced
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_page
from tests.kernel_world import KernelWorld, process, turns
from tests.swap_world import SWAP

AGED_UNLOCKED = [
    ("ksmd", "bugs:VM_BUG_ON@page_referenced_ksm.1"),
    ("ksmd@cmp_and_merge_page.17", "locks:unguarded-access@page_referenced_ksm.3"),
]
"""How far ksmd gets between the two looks, and what is found."""


def aged_unlocked(upgrade: str, **kernel: Any) -> list[str]:
    """Let ksmd upgrade a page between the two looks of page_referenced, which has not locked it."""

    async def kswapd(w: KernelWorld) -> None:
        page = w.page("B:0")
        assert await isolate_lru_page(w.g, page) == 0
        w.log.append((await page_referenced(w.g, page, is_locked=False)).count)
        await putback_lru_page(w.g, page)

    async def ksmd(w: KernelWorld) -> None:
        await w.scan(2)

    schedule = turns(
        "ksmd@try_to_merge_one_page.6",  # write-protected: the count is not looked at again
        "kswapd@page_referenced.6",  # has found an ordinary page
        upgrade,
        "kswapd",
    )
    shared = [process(name, 7, mergeable=True) for name in ("A", "B")]
    actors = ("kswapd", "ksmd")
    world = KernelWorld(SWAP, *shared, actors=actors, strategy=schedule, guarded=False, **kernel)
    world.go(kswapd, ksmd)
    return [finding.signature for finding in world.findings.all()]


@pytest.mark.parametrize(("upgrade", "signature"), AGED_UNLOCKED)
def test_a_page_that_goes_ksm_while_it_is_aged_is_walked_without_its_lock(
    upgrade: str, signature: str
) -> None:
    fix = "proposed_referenced_looks_once"
    assert aged_unlocked(upgrade)[0].startswith(signature)
    issue = match_known(signature, load_known_issues())
    assert issue is not None
    assert issue.fix == fix
    assert aged_unlocked(upgrade, with_=[fix]) == []
    assert aged_unlocked(upgrade, kernel="latest-fixes") == []
