# SPDX-License-Identifier: GPL-2.0-or-later
"""What KSM sets up at boot. Kernel: mm/ksm.c, v2.6.33; specification INIT.

Tests: `tests/unit/test_ksm_init.py`.
"""

from __future__ import annotations

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_hotplug import ksm_memory_callback
from ksmtrio.mm.ksm_sysfs import KSM_SYSFS, ksm_attrs
from ksmtrio.mm.ksm_types import KSM_RUN_MERGE
from ksmtrio.notifier import MemoryNotify, NotifierBlock


def ksm_init(g: Globals) -> None:
    """INIT: bring KSM up; at boot, so that nothing here races with anybody.

    Kernel: mm/ksm.c, ksm_init(), v2.6.33; specification INIT.1-4.

    Slab caches and slot hash need nothing here: an mm's slot is found in the list of slots. ksmd is
    an actor of the scenario, which waits as long as `run` is 0. Then come the sysfs group, without
    which `run` starts as 1, and, with priority 100, the callback for memory hot-remove.
    """
    if not g.kernel.CONFIG_KSM:
        return
    g.sysfs_create_group(KSM_SYSFS, ksm_attrs(g))
    if not g.kernel.CONFIG_SYSFS:
        # Nobody could start ksmd later.
        g.ksm.ksm_run.value = KSM_RUN_MERGE
    if not g.kernel.CONFIG_MEMORY_HOTREMOVE or not g.kernel.ksm_notifier_registered:
        return

    async def callback(action: str, arg: MemoryNotify) -> int:
        return await ksm_memory_callback(g, action, arg)

    priority = 100 if g.kernel.ksm_notifier_first else 0
    g.memory_chain.register_at_boot(NotifierBlock("ksm", callback, priority))
