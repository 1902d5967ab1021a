# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of migrate_pages(2) and soft offline, each with its later fix."""

from __future__ import annotations

from errno import EIO
from typing import Any

import pytest

from ksmtrio.base.memory import remove_memory_block, store_soft_offline_page
from ksmtrio.campaign.known import load_known_issues, match_known
from ksmtrio.mm.memory_failure import soft_offline_page
from ksmtrio.mm.mempolicy import sys_migrate_pages
from ksmtrio.mm.page_alloc import alloc_page
from ksmtrio.mm.swap import put_page
from ksmtrio.mm.vmscan import isolate_lru_page, putback_lru_page
from ksmtrio.units import PAGE_SHIFT
from tests.kernel_world import AT, Body, KernelWorld, machine, process, turns


def fixed_by(switch: str) -> list[dict[str, Any]]:
    """Return the kernels that must be clean: v2.6.33 with one fix, and with all of them."""
    return [{"with_": [switch]}, {"kernel": "latest-fixes"}]


def signatures(w: KernelWorld) -> list[str]:
    """Return the signatures of what was found."""
    return [finding.signature for finding in w.findings.all()]


def assert_listed(body: Body, *parts: str, signature: str, fix: str) -> None:
    """Assert that v2.6.33 shows a listed defect, which its fix cures."""
    assert signatures(KernelWorld(*parts).go(body)) == [signature]
    issue = match_known(signature, load_known_issues())
    assert issue is not None
    assert issue.fix == fix
    for kernel in fixed_by(fix):
        assert signatures(KernelWorld(*parts, **kernel).go(body)) == []


def test_address_space_without_areas() -> None:
    async def body(w: KernelWorld) -> None:
        assert await w.munmap("A:0", 1) == 0
        assert await sys_migrate_pages(w.g, w.mm("A"), (0,), (1,)) == 0

    assert_listed(
        body,
        process("A", 1),
        signature="bugs:null-dereference@migrate_to_node.1",
        fix="migrate_to_node_wants_a_vma",
    )


def test_soft_offline_of_a_page_off_the_lru() -> None:
    async def body(w: KernelWorld) -> None:
        page = await alloc_page(w.g, AT)
        assert page is not None
        assert await soft_offline_page(w.g, page.pfn) < 0
        await put_page(w.g, page, AT)

    assert_listed(
        body,
        process("A", 1),
        signature="page_state:refcount-leak@quiescence<-soft_offline_page.3/get_any_page#2",
        fix="soft_offline_puts_the_page",
    )


def test_soft_offline_of_a_page_that_is_isolated_between_its_two_looks() -> None:
    """The second look at PG_lru is taken, too, when the first one found it set."""

    async def admin(w: KernelWorld) -> None:
        w.log.append(await soft_offline_page(w.g, w.page("A:0").pfn))

    async def reclaimer(w: KernelWorld) -> None:
        page = w.page("A:0")
        assert await isolate_lru_page(w.g, page) == 0
        await w.rt.cond_resched("isolated")
        await putback_lru_page(w.g, page)

    def found(**kernel: Any) -> list[str]:
        schedule = turns("admin@soft_offline_page.4", "reclaimer@isolated", "admin", "reclaimer")
        w = KernelWorld(process("A", 1), actors=("admin", "reclaimer"), strategy=schedule, **kernel)
        w.go(admin, reclaimer)
        assert w.log == [-EIO]
        return signatures(w)

    fix = "soft_offline_puts_the_page"
    (signature,) = found()
    assert signature == "page_state:refcount-leak@quiescence<-soft_offline_page.1/get_any_page#2"
    issue = match_known(signature, load_known_issues())
    assert issue is not None
    assert issue.fix == fix
    for kernel in fixed_by(fix):
        assert found(**kernel) == []


@pytest.mark.parametrize("fixed", [None, *fixed_by("hotplug_has_a_lock")])
def test_soft_offline_undoes_the_isolation_of_a_block_that_goes_offline(
    fixed: dict[str, Any] | None,
) -> None:
    """Without hibernation; then a frame of the block is handed out behind the last check."""

    async def hotplug(w: KernelWorld) -> None:
        await w.offline(1)

    async def admin(w: KernelWorld) -> None:
        await store_soft_offline_page(w.g, str(w.g.sections[1].start_pfn << PAGE_SHIFT))

    async def task(w: KernelWorld) -> None:
        await w.store("A:0", 1)
        await w.store("A:1", 1)

    schedule = turns("hotplug@__offline_isolated_pages.1", "admin", "task", "hotplug")
    parts = (machine(pages_per_block=2, hibernation=False), process("A", "-", "-", "-"))
    parts = (*parts, process("B", 1))
    actors = ("hotplug", "admin", "task")
    w = KernelWorld(*parts, actors=actors, strategy=schedule, **(fixed or {}))
    found = [signature.partition("#")[0] for signature in signatures(w.go(hotplug, admin, task))]
    assert found == ([] if fixed else ["bugs:BUG_ON@__offline_isolated_pages.2"])


def test_section_that_is_removed_under_soft_offline() -> None:
    """The look whether there is a memmap keeps nothing."""

    async def admin(w: KernelWorld) -> None:
        await store_soft_offline_page(w.g, str(w.g.sections[1].start_pfn << PAGE_SHIFT))

    async def hotplug(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        await remove_memory_block(w.g, w.machine.memory_blocks[1])

    def found(**kernel: Any) -> list[str]:
        schedule = turns("admin@start_isolate_page_range.1", "hotplug", "admin", "hotplug")
        w = KernelWorld(process("A", 1), actors=("admin", "hotplug"), strategy=schedule, **kernel)
        return signatures(w.go(admin, hotplug))

    fix = "proposed_soft_offline_holds_off_removal"
    (signature,) = found()
    assert signature == (
        "frames:use-after-offline@soft_offline_page.1/get_any_page#2<-remove_section.3"
    )
    issue = match_known(signature, load_known_issues())
    assert issue is not None
    assert issue.fix == fix
    for kernel in fixed_by(fix):
        assert found(**kernel) == []
