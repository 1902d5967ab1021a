# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent defects of lock order, each with its later fix: L10."""

from __future__ import annotations

from ksmtrio.mm.ksm_types import KSM_RUN_MERGE, KSM_RUN_OFFLINE
from tests.kernel_world import KernelWorld, Log, ksm, process, turns
from tests.latent.defects import assert_defect


def test_l10_the_mutex_and_the_chains_rwsem_are_taken_in_both_orders() -> None:
    assert_defect(
        "offline_veto",
        signature="locks:order-cycle@ksm_thread_mutex<-memory_chain.rwsem",
        fix="offline_sets_run_bit",
    )


def test_l10_ksmd_waits_for_the_bit_and_goes_on_when_it_is_gone() -> None:
    async def hotplug(w: KernelWorld) -> None:
        assert await w.offline(1) == 0
        assert w.ksm.ksm_run.value == KSM_RUN_MERGE

    recorder = Log()
    world = KernelWorld(
        ksm(["A:0", "B:0"], batches=1),
        process("A", 7, mergeable=True, block=1),
        process("B", 7, mergeable=True),
        '[[actor]]\nname = "hotplug"\nkind = "user_task"\n[[actor]]\nname = "ksmd"\nkind = "ksmd"',
        kernel="latest-fixes",
        strategy=turns("hotplug@unmap_and_move.2", "ksmd", "hotplug"),
        recorder=recorder,
    )
    ksmd = world.machine.actors[1]

    async def scan(w: KernelWorld) -> None:
        await ksmd.run()
        assert not w.ksm.ksm_run.value & KSM_RUN_OFFLINE

    world.go(hotplug, scan)
    labels = [at for at, *_ in recorder.operations]
    waits = labels.index("ksm_memory_callback.wait#2")
    assert "scan_get_next_rmap_item.1" not in labels[:waits]
    assert (
        "ksm_memory_callback.clear#3" in labels[waits : labels.index("scan_get_next_rmap_item.1")]
    )
    assert world.found == []
