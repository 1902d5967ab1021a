# SPDX-License-Identifier: GPL-2.0-or-later
"""The files under /sys/kernel/mm/ksm.

Kernel: mm/ksm.c, v2.6.33; specification SY. Reading looks at one word without any lock; only a
write to `run` takes one. Tests: `tests/unit/test_ksm_sysfs.py`.
"""

from __future__ import annotations

from errno import EINVAL
from functools import partial
from typing import Final

from ksmtrio.mm.globals import Globals
from ksmtrio.mm.ksm_hotplug import wait_while_offlining
from ksmtrio.mm.ksm_types import KSM_RUN_MERGE, KSM_RUN_STOP, KSM_RUN_UNMERGE
from ksmtrio.mm.ksm_unmerge import unmerge_and_remove_all_rmap_items
from ksmtrio.mm.sysfs_types import Attribute
from ksmtrio.mm.vsprintf import UINT_MAX, strict_strtoul
from ksmtrio.sched.points import Points

KSM_SYSFS: Final = "/sys/kernel/mm/ksm"

SY = Points(__name__, "run_store", "SY", "2 3 3#2 3#3 4 5")
RUN_SHOW = Points(__name__, "run_show", "", "1")
SCAN_SHOW = Points(__name__, "pages_to_scan_show", "", "1")
SCAN_STORE = Points(__name__, "pages_to_scan_store", "", "2")
SLEEP_SHOW = Points(__name__, "sleep_millisecs_show", "", "1")
SLEEP_STORE = Points(__name__, "sleep_millisecs_store", "", "2")
SHARED_SHOW = Points(__name__, "pages_shared_show", "", "1")
SHARING_SHOW = Points(__name__, "pages_sharing_show", "", "1")
UNSHARED_SHOW = Points(__name__, "pages_unshared_show", "", "1")
VOLATILE_SHOW = Points(__name__, "pages_volatile_show", "", "1 1#2 1#3 1#4")
FULL_SHOW = Points(__name__, "full_scans_show", "", "1")


async def run_store(g: Globals, buf: str) -> int:
    """SY: stop ksmd (0), let it scan (1), or stop it and take everything apart (2).

    Kernel: mm/ksm.c, run_store(), v2.6.33; specification SY.1-5. Context: takes ksm_thread_mutex,
    uninterruptibly: waits for ksmd's batch, and for the whole of a memory offline. Differs: the
    writer is not marked as the OOM killer's first choice, as there is no OOM killer.

    Returns:
        Bytes taken, -EINVAL, or the error of the unmerging, after which `run` reads 0.
    """
    ksm = g.ksm
    err, flags = strict_strtoul(buf, 10)
    if err or flags > KSM_RUN_UNMERGE:
        return -EINVAL
    count = len(buf)
    await ksm.ksm_thread_mutex.lock(SY["2"])
    if g.kernel.offline_sets_run_bit:
        await wait_while_offlining(g)
    if await ksm.ksm_run.read(SY["3"]) != flags:
        await ksm.ksm_run.write(SY["3#2"], flags)
        if flags & KSM_RUN_UNMERGE:
            err = await unmerge_and_remove_all_rmap_items(g)
            if err:
                await ksm.ksm_run.write(SY["3#3"], KSM_RUN_STOP)
                count = err
    await ksm.ksm_thread_mutex.unlock(SY["4"])
    if flags & KSM_RUN_MERGE:
        await ksm.ksm_thread_wait.wake_up(SY["5"])
    return count


async def run_show(g: Globals) -> str:
    """run_show(): 2 stays readable once everything is apart; a failure to get there shows as 0."""
    return f"{await g.ksm.ksm_run.read(RUN_SHOW['1'])}\n"


async def pages_to_scan_show(g: Globals) -> str:
    """pages_to_scan_show()."""
    return f"{await g.ksm.ksm_thread_pages_to_scan.read(SCAN_SHOW['1'])}\n"


async def pages_to_scan_store(g: Globals, buf: str) -> int:
    """pages_to_scan_store(): ksmd's next batch is that long; lockless, not even ksmd is told.

    Steps:
        1. Parse a decimal; failure or more than an unsigned int: -EINVAL.
        2. Store it.
    """
    err, nr_pages = strict_strtoul(buf, 10)
    if err or nr_pages > UINT_MAX:
        return -EINVAL
    await g.ksm.ksm_thread_pages_to_scan.write(SCAN_STORE["2"], nr_pages)
    return len(buf)


async def sleep_millisecs_show(g: Globals) -> str:
    """sleep_millisecs_show()."""
    return f"{await g.ksm.ksm_thread_sleep_millisecs.read(SLEEP_SHOW['1'])}\n"


async def sleep_millisecs_store(g: Globals, buf: str) -> int:
    """sleep_millisecs_store(): ksmd's next sleep is that long; one that it is in goes on.

    Steps:
        1. Parse a decimal; failure or more than an unsigned int: -EINVAL.
        2. Store it.
    """
    err, msecs = strict_strtoul(buf, 10)
    if err or msecs > UINT_MAX:
        return -EINVAL
    await g.ksm.ksm_thread_sleep_millisecs.write(SLEEP_STORE["2"], msecs)
    return len(buf)


async def pages_shared_show(g: Globals) -> str:
    """pages_shared_show()."""
    return f"{await g.ksm.ksm_pages_shared.read(SHARED_SHOW['1'])}\n"


async def pages_sharing_show(g: Globals) -> str:
    """pages_sharing_show()."""
    return f"{await g.ksm.ksm_pages_sharing.read(SHARING_SHOW['1'])}\n"


async def pages_unshared_show(g: Globals) -> str:
    """pages_unshared_show()."""
    return f"{await g.ksm.ksm_pages_unshared.read(UNSHARED_SHOW['1'])}\n"


async def pages_volatile_show(g: Globals) -> str:
    """pages_volatile_show(): items in neither tree, from four looks.

    What ksmd does between them may make the result too large, or negative, which shows as 0.
    """
    ksm = g.ksm
    nr_volatile = await ksm.ksm_rmap_items.read(VOLATILE_SHOW["1"])
    nr_volatile -= await ksm.ksm_pages_shared.read(VOLATILE_SHOW["1#2"])
    nr_volatile -= await ksm.ksm_pages_sharing.read(VOLATILE_SHOW["1#3"])
    nr_volatile -= await ksm.ksm_pages_unshared.read(VOLATILE_SHOW["1#4"])
    return f"{max(nr_volatile, 0)}\n"


async def full_scans_show(g: Globals) -> str:
    """full_scans_show(): full scans since boot, or since everything was taken apart."""
    return f"{await g.ksm.cursor.seqnr.read(FULL_SHOW['1'])}\n"


def ksm_attrs(g: Globals) -> dict[str, Attribute]:
    """ksm_attr_group: the files, by name."""
    return {
        "sleep_millisecs": Attribute(
            partial(sleep_millisecs_show, g), partial(sleep_millisecs_store, g)
        ),
        "pages_to_scan": Attribute(partial(pages_to_scan_show, g), partial(pages_to_scan_store, g)),
        "run": Attribute(partial(run_show, g), partial(run_store, g)),
        "pages_shared": Attribute(partial(pages_shared_show, g)),
        "pages_sharing": Attribute(partial(pages_sharing_show, g)),
        "pages_unshared": Attribute(partial(pages_unshared_show, g)),
        "pages_volatile": Attribute(partial(pages_volatile_show, g)),
        "full_scans": Attribute(partial(full_scans_show, g)),
    }
