# SPDX-License-Identifier: GPL-2.0-or-later
"""The locks oracle predicts deadlocks from the orders in which locks were taken."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ksmtrio.locking.mutex import Mutex
from ksmtrio.mm.mm_types import MmStruct
from ksmtrio.oracles.base import Finding
from ksmtrio.oracles.locks import LocksOracle
from ksmtrio.units import PAGE_SHIFT
from tests.unit.oracle_world import BASE, World

Step = Callable[[], Awaitable[object]]
HERE = BASE << PAGE_SHIFT
FAR = HERE + (512 << PAGE_SHIFT)


class Locks:
    """A world and some of its locks, each as (take, drop)."""

    def __init__(self) -> None:
        self.world = World([LocksOracle()])
        g = self.world.g
        self.mutex = self._sleeping(g.ksm.ksm_thread_mutex)
        self.gate = self._sleeping(Mutex(g, "pm_mutex"))
        chain, mmap_sem = g.memory_chain.rwsem, self.world.a.mmap_sem
        self.chain = (
            lambda: chain.down_read("memory_notify.1"),
            lambda: chain.up_read("memory_notify.2"),
        )
        self.read = (lambda: mmap_sem.down_read("f.1"), lambda: mmap_sem.up_read("f.2"))
        self.write = (lambda: mmap_sem.down_write("f.3"), lambda: mmap_sem.up_write("f.4"))
        self.page = self._sleeping(g.pages[0].page_lock)
        self.try_page = (
            lambda: g.pages[0].page_lock.trylock("f.5"),
            lambda: g.pages[0].page_lock.unlock("f.6"),
        )

    def _sleeping(self, lock: Any) -> tuple[Step, Step]:
        return (lambda: lock.lock(f"{lock.field}.1")), (lambda: lock.unlock(f"{lock.field}.2"))

    def pte(self, mm: MmStruct, address: int) -> tuple[Step, Step]:
        ptl = mm.ptl(address)

        async def unlock() -> None:
            ptl.unlock("pte.2")

        return (lambda: ptl.lock("pte.1")), unlock

    def nest(self, *locks: tuple[Step, Step]):
        """Return the body of an actor that takes locks inside each other."""

        async def body() -> None:
            for take, _ in locks:
                await take()
            for _, drop in reversed(locks):
                await drop()

        return body

    def judge(self, **bodies: Any) -> list[Finding]:
        assert self.world.run(**bodies) == []
        return self.world.rest()


def test_two_orders_of_two_locks_are_noted_though_nobody_hung():
    locks = Locks()
    (finding,) = locks.judge(
        one=locks.nest(locks.chain, locks.mutex), two=locks.nest(locks.mutex, locks.chain)
    )
    assert finding.signature == "locks:order-cycle@ksm_thread_mutex<-memory_chain.rwsem"
    assert not finding.corrupting
    assert finding.actors == ("two", "one")
    assert finding.message == (
        "INFO: possible circular locking dependency: "
        "two took memory_chain.rwsem at memory_notify.1 inside ksm_thread_mutex of "
        "ksm_thread_mutex.1; "
        "one took ksm_thread_mutex at ksm_thread_mutex.1 inside memory_chain.rwsem of "
        "memory_notify.1"
    )


def test_one_order_is_silent():
    locks = Locks()
    body = locks.nest(locks.chain, locks.mutex, locks.read, locks.page)
    assert locks.judge(one=body, two=body) == []


def test_cycle_of_three_is_noted():
    locks = Locks()
    (finding,) = locks.judge(
        one=locks.nest(locks.mutex, locks.write),
        two=locks.nest(locks.write, locks.page),
        three=locks.nest(locks.page, locks.mutex),
    )
    assert finding.signature == "locks:order-cycle@ksm_thread_mutex<-page_lock<-mmap_sem"


def test_trylock_cannot_wait_and_makes_no_order():
    locks = Locks()
    assert not locks.judge(
        one=locks.nest(locks.page, locks.read), two=locks.nest(locks.read, locks.try_page)
    )


def test_lock_around_both_orders_keeps_them_apart():
    locks = Locks()
    assert not locks.judge(
        one=locks.nest(locks.gate, locks.mutex, locks.chain),
        two=locks.nest(locks.gate, locks.chain, locks.mutex),
    )


@pytest.mark.parametrize("bare", [True, False])
def test_order_seen_once_without_the_lock_around_it_counts(*, bare: bool):
    locks = Locks()
    around = () if bare else (locks.gate,)
    found = locks.judge(
        one=locks.nest(locks.gate, locks.mutex, locks.chain),
        two=locks.nest(locks.gate, locks.chain, locks.mutex),
        three=locks.nest(*around, locks.mutex, locks.chain),
    )
    assert len(found) == bare


def test_readers_of_a_rwsem_do_not_keep_each_other_out():
    locks = Locks()
    (finding,) = locks.judge(
        one=locks.nest(locks.read, locks.mutex, locks.page),
        two=locks.nest(locks.read, locks.page, locks.mutex),
    )
    assert finding.signature == "locks:order-cycle@ksm_thread_mutex<-page_lock"


# -- locks of one class ------------------------------------------------------------------------


def test_two_locks_of_one_class_in_one_order_are_silent():
    locks = Locks()
    pair = locks.pte(locks.world.a, HERE), locks.pte(locks.world.a, FAR)
    body = locks.nest(*pair)
    assert locks.judge(one=body, two=body) == []


def test_two_locks_of_one_class_in_both_orders_are_noted():
    locks = Locks()
    near, far = locks.pte(locks.world.a, HERE), locks.pte(locks.world.a, FAR)
    (finding,) = locks.judge(one=locks.nest(near, far), two=locks.nest(far, near))
    assert finding.signature == "locks:order-cycle@pte_lock<-pte_lock"
    assert "mm(A).ptl[0x1] at pte.1 inside mm(A).ptl[0x0]" in finding.message


def test_two_locks_of_one_class_in_both_orders_under_mmap_sem_are_silent():
    """As mremap moves ptes forth and back: only with mmap_sem held for write."""
    locks = Locks()
    near, far = locks.pte(locks.world.a, HERE), locks.pte(locks.world.a, FAR)
    assert not locks.judge(
        one=locks.nest(locks.write, near, far), two=locks.nest(locks.write, far, near)
    )
