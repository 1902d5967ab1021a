# SPDX-License-Identifier: GPL-2.0-or-later
"""The contract oracle: system calls and sysfs files answer as their interface allows.

Each answer is compared with the errnos that the interface knows, and move_pages' statuses with
where the pages are, as long as nobody else runs. The runner also knows what the scenario expects
(``expect``, ``[end]``) and says where an answer or the end state differs. Not corrupting: the
machine is as sound as before. Tests: `tests/unit/test_oracles_contract.py`.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ksmtrio.oracles.notices import Heard, NoticeOracle
from ksmtrio.units import PAGE_SHIFT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ksmtrio.machine import Machine
    from ksmtrio.mm.globals import Globals
    from ksmtrio.mm.mm_types import MmStruct, Page
    from ksmtrio.oracles.base import Findings
    from ksmtrio.sched.cell import Death
    from ksmtrio.uapi.answer import Answer
    from ksmtrio.units import Vaddr

_WORDS: Final = {
    "unexpected-answer": "unexpected answer",
    "unexpected-end": "unexpected end state",
}


def _errnos(names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names.split())


_NO_FILE: Final = _errnos("EACCES EISDIR ENOENT ENOTDIR")
"""What any path of sysfs may be answered with."""

ERRNOS: Final[dict[str, frozenset[int]]] = {
    "madvise": _errnos("EAGAIN EBADF EINTR EINVAL ENOMEM ESRCH"),
    "mmap": _errnos("EACCES EAGAIN EBADF EEXIST EINVAL ENODEV ENOMEM EPERM ESRCH"),
    "munmap": _errnos("EINVAL ENOMEM ESRCH"),
    "mremap": _errnos("EAGAIN EFAULT EINTR EINVAL ENOMEM ESRCH"),
    "mlock": _errnos("EAGAIN EINTR EINVAL ENOMEM EPERM ESRCH"),
    "munlock": _errnos("EAGAIN EINTR EINVAL ENOMEM EPERM ESRCH"),
    "mbind": _errnos("EFAULT EINVAL EIO ENOMEM ENOSYS EPERM ESRCH"),
    "move_pages": _errnos("E2BIG EACCES EFAULT EINVAL ENODEV ENOENT ENOMEM ENOSYS EPERM ESRCH"),
    "migrate_pages": _errnos("EFAULT EINVAL ENOMEM ENOSYS EPERM ESRCH"),
    "fork": _errnos("EAGAIN EINTR ENOMEM ESRCH"),
    "exit": _errnos("ESRCH"),
    "swapoff": _errnos("EINTR EINVAL ENOMEM ENOSYS EPERM"),
    "kill": _errnos("EINVAL EPERM ESRCH"),
    "reclaim": _errnos(""),
    "return_to_user": _errnos(""),
    "vmsplice": _errnos("EFAULT EINTR ENOMEM ESRCH"),
    "drain": _errnos(""),
    "numa_maps": _errnos("ESRCH"),
    "pagemap": _errnos("ESRCH"),
    "eject_memory": _errnos("EBUSY"),
    "read": _NO_FILE,
    "write": _NO_FILE,
    "write run": _NO_FILE | _errnos("EINTR EINVAL ENOMEM"),
    "write pages_to_scan": _NO_FILE | _errnos("EINVAL"),
    "write sleep_millisecs": _NO_FILE | _errnos("EINVAL"),
    "write state": _NO_FILE | _errnos("EAGAIN EBUSY EINTR EINVAL ENOMEM EPERM"),
    "write soft_offline_page": _NO_FILE | _errnos("EBUSY EINVAL EIO ENOMEM ENOSYS ENXIO EPERM"),
}
"""Call, or call and file, -> errnos that its interface knows.

ESRCH stands for a task that has exited, ENOSYS for an option that is off. A notifier may
veto memory going offline with any errno: those of the scenario count too.
"""

STATUSES: Final = _errnos("EACCES EAGAIN EBUSY EFAULT EINVAL EIO ENOENT ENOMEM")
"""Errnos that move_pages may give for a page."""

TAKES_VETO: Final = "write state"


class ContractOracle(NoticeOracle):
    """Answers outside the interface, and what the scenario asked for and did not get."""

    name = "contract"
    description = "system calls and sysfs files answer as their interface and the scenario allow"
    kinds: ClassVar[Mapping[str, bool]] = {"unexpected-answer": False, "unexpected-end": False}

    g: Globals
    _vetos: frozenset[int]

    def attach(self, machine: Machine, findings: Findings) -> None:
        """Listen; the scenario's notifiers say which vetos are possible."""
        super().attach(machine, findings)
        self.g = machine.g
        notifiers = () if machine.scenario is None else machine.scenario.notifiers
        self._vetos = _errnos(" ".join(spec.errno for spec in notifiers))

    def text(self, heard: Heard) -> str:
        """Say what differs."""
        return f"{_WORDS[heard.kind]} at {heard.at}: {heard.message}"

    def _hear(self, kind: str, target: Any, at: str, message: str, other: Death | None) -> None:
        if kind == "answered":
            self._judge(target)
        else:
            super()._hear(kind, target, at, message, other)

    def _judge(self, answer: Answer) -> None:
        """Compare one answer with its interface. The point is the call, wherever it failed."""
        call = _interface(answer)
        allowed = ERRNOS.get(call, frozenset())
        if call == TAKES_VETO:
            allowed |= self._vetos
        if answer.errno and answer.errno not in allowed:
            self._report(
                answer.call,
                "errno-not-in-interface",
                f"{call} answered {_name(-answer.errno)}, which its interface does not know",
            )
        if answer.call == "move_pages" and answer.value is not None:
            self._statuses(answer.args, answer.value)

    def _statuses(self, args: tuple[Any, ...], statuses: Sequence[int]) -> None:
        mm, pages = args[0], args[1]
        for address, status in zip(pages, statuses, strict=True):
            if status < 0 and -status not in STATUSES:
                self._report(
                    "move_pages",
                    "status-not-in-interface",
                    f"move_pages gave status {_name(status)} for {address:#x}",
                )
            elif len(self.rt.actors) == 1:
                self._where(mm, address, status)

    def _where(self, mm: MmStruct, address: Vaddr, status: int) -> None:
        """With nobody else around, a node is where the page is, and ENOENT says there is none.

        KSM pages, which belong to nobody, may count as none.
        """
        page = self._page_at(mm, address)
        word = None if page is None else page.mapping.value
        if status == -errno.ENOENT:
            wrong = page is not None and (word is None or not word.ksm)
        else:
            wrong = status >= 0 and (page is None or status != page.nid)
        if wrong:
            where = "no page" if page is None else f"a page on node {page.nid}"
            self._report(
                "move_pages",
                "status-disagrees",
                f"move_pages gave status {_name(status)} for {address:#x} of {mm.name}, "
                f"where there is {where}",
            )

    def _page_at(self, mm: MmStruct, address: Vaddr) -> Page | None:
        cell = mm.ptes.get(address >> PAGE_SHIFT)
        if cell is None or not cell.value.present or cell.value.special:
            return None
        return self.g.pages[cell.value.pfn]

    def _report(self, call: str, kind: str, message: str) -> None:
        self.findings.report(self.name, kind, call, f"BUG: {message}", corrupting=False)


def _interface(answer: Answer) -> str:
    """Return the call, with the file's name where that has an interface of its own."""
    if answer.call in ("read", "write"):
        own = f"{answer.call} {str(answer.args[0]).rpartition('/')[2]}"
        return own if own in ERRNOS else answer.call
    return answer.call


def _name(status: int) -> str:
    name = errno.errorcode.get(-status)
    return str(status) if name is None else f"-{name}"
