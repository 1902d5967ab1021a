# SPDX-License-Identifier: GPL-2.0-or-later
"""KSM's memory notifier: keeps ksmd away while memory goes offline, then prunes.

Kernel: mm/ksm.c, v2.6.33; specification CK CB. Registered by ksm_init.py. Tests:
`tests/unit/test_ksm_hotplug.py`.
"""

from __future__ import annotations

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_tree import remove_node_from_stable_tree
from ksmtrio.mm.ksm_types import KSM_RUN_OFFLINE, StableNode
from ksmtrio.mm.mm_types import Page
from ksmtrio.notifier import NOTIFY_OK, MemoryNotify
from ksmtrio.sched.points import Points
from ksmtrio.units import Pfn

CK = Points(__name__, "ksm_check_stable_tree", "CK", "1 1#2 2")
BIT = Points(
    __name__,
    "ksm_memory_callback",
    "",
    "set set#2 set#3 clear clear#2 clear#3 clear#4 clear#5 wait wait#2 wait#3 wait#4",
)
CB = Points(__name__, "ksm_memory_callback", "CB", "1 5")

MEM_ONLINE = "MEM_ONLINE"
MEM_GOING_ONLINE = "MEM_GOING_ONLINE"
MEM_CANCEL_ONLINE = "MEM_CANCEL_ONLINE"
MEM_GOING_OFFLINE = "MEM_GOING_OFFLINE"
MEM_OFFLINE = "MEM_OFFLINE"
MEM_CANCEL_OFFLINE = "MEM_CANCEL_OFFLINE"


async def ksm_check_stable_tree(g: Globals, start_pfn: Pfn, end_pfn: Pfn) -> StableNode | None:
    """CK: the first node, in tree order, whose frame lies in [start_pfn, end_pfn).

    Kernel: mm/ksm.c, ksm_check_stable_tree(), v2.6.33. Touches no struct page, unless nodes name
    their pages by pointer, whose frame number is in the page's flags.

    Steps of CK:
        1. Go to the first node, later to the next; none left: return none. Read its kpfn.
        2. A pointer instead of a frame number: read the page's flags for its section.
           In the range: return the node.
    """
    await g.rt.point(CK["1"], "rb_first", None)
    for stable_node in list(g.ksm.stable_root):
        ref = await stable_node.kpfn.read(CK["1#2"])
        if isinstance(ref, Page):
            await ref.flags.read(CK["2"])
            pfn = ref.pfn
        else:
            pfn = ref
        if start_pfn <= pfn < end_pfn:
            return stable_node
    return None


async def ksm_memory_callback(g: Globals, action: str, arg: MemoryNotify) -> int:
    """CB: lock at MEM_GOING_OFFLINE; prune and unlock at MEM_OFFLINE; unlock at a cancel.

    Kernel: mm/ksm.c, ksm_memory_callback(), v2.6.33; specification CB.1-5. There is no ownership
    check: the unlock trusts that the same operation did the lock.
    """
    kernel, mutex = g.kernel, g.ksm.ksm_thread_mutex
    if action == MEM_GOING_OFFLINE and kernel.offline_locks_out_ksm:
        await mutex.lock(CB["1"])
        if kernel.offline_sets_run_bit:
            await _set_run_bit(g)
    if action == MEM_OFFLINE and kernel.offline_prunes_stable_tree:
        end_pfn = arg.start_pfn + arg.nr_pages
        while (stale := await ksm_check_stable_tree(g, arg.start_pfn, end_pfn)) is not None:
            await remove_node_from_stable_tree(g, stale)
    if action in (MEM_OFFLINE, MEM_CANCEL_OFFLINE) and kernel.offline_locks_out_ksm:
        if kernel.offline_sets_run_bit:
            await _clear_run_bit(g)
        else:
            await mutex.unlock(CB["5"])
    return NOTIFY_OK


async def _set_run_bit(g: Globals) -> None:
    """Of later kernels: let KSM_RUN_OFFLINE stand for the mutex, which is held and let go."""
    ksm = g.ksm
    await ksm.ksm_run.write(BIT["set#2"], await ksm.ksm_run.read(BIT["set"]) | KSM_RUN_OFFLINE)
    ksm.offliner = g.rt.me
    await ksm.ksm_thread_mutex.unlock(BIT["set#3"])


async def _clear_run_bit(g: Globals) -> None:
    """Of later kernels: memory has gone offline, or stays; whoever waits may go on."""
    ksm = g.ksm
    await ksm.ksm_thread_mutex.lock(BIT["clear"])
    run = await ksm.ksm_run.read(BIT["clear#2"])
    await ksm.ksm_run.write(BIT["clear#3"], run & ~KSM_RUN_OFFLINE)
    ksm.offliner = None
    await ksm.ksm_thread_mutex.unlock(BIT["clear#4"])
    await ksm.offline_wait.wake_up(BIT["clear#5"])


async def wait_while_offlining(g: Globals) -> None:
    """wait_while_offlining() of later kernels: ksm_thread_mutex is held, and let go meanwhile.

    Context: right after the mutex was taken; sleeps uninterruptibly.
    """
    ksm = g.ksm
    while await ksm.ksm_run.read(BIT["wait"]) & KSM_RUN_OFFLINE:
        await ksm.ksm_thread_mutex.unlock(BIT["wait#2"])
        await ksm.offline_wait.wait_event(
            BIT["wait#3"], lambda: not ksm.ksm_run.value & KSM_RUN_OFFLINE, idle=False
        )
        await ksm.ksm_thread_mutex.lock(BIT["wait#4"])
