# SPDX-License-Identifier: GPL-2.0-or-later
"""RCU read side: keeps SLAB_DESTROY_BY_RCU objects of the type they were.

Entering and leaving touch nothing that another CPU sees, hence no schedule points. A section must
not sleep. Tests: `tests/unit/test_rcu.py`.
"""

from __future__ import annotations

from ksmtrio.sched.runtime import Runtime
from ksmtrio.sched.tap import RCU, READ


def rcu_read_lock(rt: Runtime) -> None:
    """Enter a read-side section; objects that die later stay readable as their type."""
    me = rt.me
    if me.rcu_depth == 0:
        me.rcu_epoch = rt.next_epoch()
        if rt.recorder is not None:
            rt.recorder.aside(RCU, READ)
    me.rcu_depth += 1


def rcu_read_unlock(rt: Runtime) -> None:
    """Leave the innermost read-side section."""
    rt.me.rcu_depth -= 1
