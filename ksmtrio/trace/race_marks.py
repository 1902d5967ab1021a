# SPDX-License-Identifier: GPL-2.0-or-later
"""The marks that tell which race an execution came near, or showed.

Each is taken from the interleaving tables of the seed patch's specification: *Mig* is whoever is
inside unmap_and_move, *K* is ksmd. A mark named ``race_...`` means that the race happened; one
named
``window_...`` that its window was entered, also where a guard then held. Used by tests and reports,
never by oracles. Tests: `tests/races/`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from ksmtrio.base.drivers import DRIVER
from ksmtrio.mm.ksm_hotplug import CK
from ksmtrio.mm.ksm_merge import BK, M1, RP
from ksmtrio.mm.ksm_rmap import TU
from ksmtrio.mm.ksm_tree import GK, RI, RN
from ksmtrio.mm.memory import FP
from ksmtrio.mm.migrate import MC, MM, UM
from ksmtrio.mm.mm_types import Page
from ksmtrio.mm.mmzone import MIGRATE_ISOLATE
from ksmtrio.mm.page_alloc import PF
from ksmtrio.mm.vmscan import IL
from ksmtrio.mm.vmscan_reclaim import RX
from ksmtrio.trace.marks import Mark

if TYPE_CHECKING:
    from ksmtrio.machine import Machine
    from ksmtrio.sched.actor_state import ActorState


def _page(actor: ActorState) -> Page:
    """Return the page whose word the actor is about to touch."""
    page = actor.obj.owner
    assert isinstance(page, Page), f"{actor.at} touches no page"
    return page


def _is_ksm(page: Page) -> bool:
    word = page.mapping.value
    return word is not None and word.ksm


class _OnTheMove(Mark):
    """Base: which KSM pages are between Mig's count look (MM.2) and MC.7."""

    labels: ClassVar[tuple[str, ...]] = (MM["2"], MC["7"])

    def __init__(self) -> None:
        self._moving: list[Page] = []

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Follow the migration; ask `between` about everything else."""
        page = _page(actor)
        if label == MM["2"]:
            if page.count.value == 1 and _is_ksm(page):
                self._moving.append(page)
            return False
        if label == MC["7"]:
            if page in self._moving:
                self._moving.remove(page)
            return False
        return page in self._moving and self.between(page)

    def between(self, page: Page) -> bool:
        """Return whether touching `page` now is the race."""
        return True


class RaceA(_OnTheMove):
    """RACE-A: K takes a reference (GK.3) after Mig has looked at the count."""

    name = "race_a"
    description = "GK.3 on the old page between MM.2 and MC.7"
    labels = (*_OnTheMove.labels, GK["3"])

    def between(self, page: Page) -> bool:
        """The page is not free: the reference will be taken."""
        return page.count.value > 0


class RaceA2(_OnTheMove):
    """RACE-A2: K even maps the old page (RP.3) before its word is cleared."""

    name = "race_a2"
    description = "RP.3b onto the old page between MM.2 and MC.7"
    labels = (*_OnTheMove.labels, RP["3b"])


class _Frozen(Mark):
    """Base: which pages have their count frozen at 0 while they live on."""

    freeze: ClassVar[str]
    unfreeze: ClassVar[str]

    def __init__(self) -> None:
        self._frozen: dict[Page, bool] = {}

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Follow the freeze window of KSM pages: did K try for a reference inside it?"""
        page = _page(actor)
        if label == self.freeze:
            if page.count.value == 2 and _is_ksm(page):
                self._frozen[page] = False
            return False
        if label == self.unfreeze:
            return self._frozen.pop(page, False)
        if page in self._frozen:
            self._frozen[page] = True
        return False


class RaceB(_Frozen):
    """RACE-B: K takes a page whose count Mig has frozen (MM.5) for one that is being freed."""

    name = "race_b"
    description = "GK.3 on a page in the swap cache between MM.5 and MM.8"
    freeze, unfreeze = MM["5"], MM["8"]
    labels = (MM["5"], MM["8"], GK["3"])


class LiveNodePruned(_Frozen):
    """L1: the same with reclaim, which finds the page dirty again and lets it live."""

    name = "gk_in_reclaims_freeze"
    description = "GK.3 between RX.2 and RX.3 of a page that turns out to be dirty"
    freeze, unfreeze = RX["2"], RX["3#2"]
    labels = (RX["2"], RX["3#2"], GK["3"])


class RaceC(Mark):
    """RACE-C: K changes a node's list under the lock of a page that the node has left."""

    name = "race_c"
    description = "RI.4 without the lock of the page at kpfn"
    labels = (RI["4"],)

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Compare the node's page with what K has locked."""
        ref = actor.obj.value
        page = ref if isinstance(ref, Page) else machine.g.pages[ref]
        return not page.page_lock.held_by(actor)


class RaceD(Mark):
    """RACE-D: K looks at the old page's word with the kpfn of before the move."""

    name = "race_d"
    description = "GK.1 before MC.5 and GK.2 after MC.7, on one page"
    labels = (GK["1"], GK["2"], MC["7"])

    def __init__(self) -> None:
        self._read: dict[str, tuple[Any, bool]] = {}

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Follow what each K read at GK.1, and whether that page was disowned since."""
        if label == GK["1"]:
            ref = actor.obj.value
            self._read[actor.name] = (ref.pfn if isinstance(ref, Page) else ref, False)
            return False
        page = _page(actor)
        if label == GK["2"]:
            pfn, moved = self._read[actor.name]
            return moved and pfn == page.pfn
        if _is_ksm(page):
            for name, (pfn, _) in self._read.items():
                if pfn == page.pfn:
                    self._read[name] = (pfn, True)
        return False


class WindowE(Mark):
    """RACE-E's window: K upgrades a page (M1.6) that Mig has isolated as an ordinary one."""

    name = "window_e"
    description = "M1.6 between IL.2a and the page lock of UM, seen by UM.6 or passed by it"
    labels = (IL["2a"], M1["6"], UM["6"], TU["1"])
    _end: tuple[str, ...] = (UM["6"], TU["1"])

    def __init__(self) -> None:
        self._isolated: dict[Page, str] = {}
        self._upgraded: list[Page] = []

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Follow isolation and upgrade of each page."""
        page = _page(actor)
        if label == IL["2a"]:
            if not _is_ksm(page):
                self._isolated[page] = actor.name
        elif label == M1["6"]:
            if page in self._isolated:
                self._upgraded.append(page)
        elif label in self._end:
            return page in self._upgraded and self._isolated[page] == actor.name
        return False


class RaceE(WindowE):
    """RACE-E: Mig goes on to unmap the page that went KSM beneath it."""

    name = "race_e"
    description = "M1.6 between IL.2a and UM.3, and yet TU on that page by the same Mig"
    _end = (TU["1"],)


class WindowOffline(Mark):
    """The window of A to D with Mig = offline: K wants to run while a KSM page is switched."""

    name = "window_offline"
    description = (
        "MM.2 or MM.5 on a KSM page while another actor waits for ksm_thread_mutex, or goes for it"
    )
    labels = (MM["2"], MM["5"])

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Look for somebody at the mutex."""
        return _is_ksm(_page(actor)) and _wants_mutex(machine, actor)


class PruneAtOffline(Mark):
    """A node was left behind by a page freed during the offline, and MEM_OFFLINE pruned it."""

    name = "prune_at_offline"
    description = "RN by an actor that comes from CK"
    labels = (CK["1"], RN["1"])

    def __init__(self) -> None:
        self._from_ck: list[str] = []

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Remember who walks the tree for the notifier."""
        if label == CK["1"]:
            self._from_ck.append(actor.name)
            return False
        return actor.name in self._from_ck


class FreedWhileLeaving(Mark):
    """The window of the prune: a KSM page of an isolated block is freed, its node stays."""

    name = "window_prune"
    description = "PF.4 of a KSM page whose pageblock is ISOLATE"
    labels = (PF["4"],)

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Look at the page and its pageblock."""
        page = _page(actor)
        if not _is_ksm(page):
            return False
        block = machine.g.section_of(page.pfn).pageblock_of(page.pfn)
        return block.value == MIGRATE_ISOLATE


class WindowVeto(Mark):
    """The foreign unlock's window: a driver is asked while another has KSM's mutex, or wants it."""

    name = "window_veto"
    description = (
        "a driver's callback runs while ksm_thread_mutex is held or wanted by another actor"
    )
    labels = (DRIVER["1"],)

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """Look for somebody in, or at, the mutex."""
        holders = machine.g.ksm.ksm_thread_mutex.holders()
        return any(h is not actor for h in holders) or _wants_mutex(machine, actor)


class BreakMeetsMigrationEntry(Mark):
    """L2: break_ksm finds a migration entry and takes it for nothing to break."""

    name = "break_ksm_meets_migration_entry"
    description = "FP.2 of break_ksm on a migration entry"
    labels = (BK["1"], FP["2"])

    def __init__(self) -> None:
        self._breaking: list[str] = []

    def step(self, actor: ActorState, label: str, machine: Machine) -> bool:
        """FP directly after BK.1 is break_ksm's."""
        if label == BK["1"]:
            if actor.name not in self._breaking:
                self._breaking.append(actor.name)
            return False
        if actor.name not in self._breaking:
            return False
        self._breaking.remove(actor.name)
        return bool(actor.obj.value.migration)


def _wants_mutex(machine: Machine, actor: ActorState) -> bool:
    mutex = machine.g.ksm.ksm_thread_mutex
    return any(
        other is not actor
        and mutex not in other.held
        and (other.waiting_on is mutex or (other.obj is mutex and other.op == "mutex_lock"))
        for other in machine.rt.actors
    )


MARKS: Final[tuple[type[Mark], ...]] = (
    RaceA,
    RaceA2,
    RaceB,
    RaceC,
    RaceD,
    RaceE,
    WindowE,
    WindowOffline,
    PruneAtOffline,
    FreedWhileLeaving,
    WindowVeto,
    BreakMeetsMigrationEntry,
    LiveNodePruned,
)
"""All marks, in the order in which they are reported."""
