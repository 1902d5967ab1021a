# SPDX-License-Identifier: GPL-2.0-or-later
"""Which transitions disturb nobody, as far as a search knows: who touched which name, and how.

A transition whose every access commutes with all that other actors ever do to those names can be
tried alone: what others do before it, they may as well do after it. What others do is learned from
the executions. A transition believed quiet may turn out not to be; what was left out on its account
is then handed back. When a search without a bound has come to its end, all beliefs hold: the first
access that would break one would have been met after the quiet transition, too.

Source: persistent sets, Godefroid, "Partial-Order Methods for the Verification of Concurrent
Systems", LNCS 1032, 1996; to learn conflicts while searching, Flanagan and Godefroid, "Dynamic
Partial-Order Reduction for Model Checking Software", POPL 2005. Tests: `tests/unit/test_quiet.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Generic, TypeVar

import attrs

from ksmtrio.sched.footprint import Step
from ksmtrio.sched.tap import ADD, ANYTHING, READ, WRITE

T = TypeVar("T")

_COMMUTE: Final = (READ, ADD)
_NOBODY: Final[dict[int, int]] = {}


@attrs.define(eq=False)
class LeftOut(Generic[T]):
    """What was left out because a transition seemed quiet.

    Attributes:
        actor: whose transition.
        accesses: of the transition.
        what: left out.
        back: it has been handed back.
    """

    actor: int
    accesses: Mapping[str, int]
    what: T
    back: bool = False


class Beliefs(Generic[T]):
    """Accesses of each actor, and what was left out on their account.

    Attributes:
        kinds: what is known: name -> actor -> kinds of its accesses.
    """

    def __init__(self) -> None:
        self.kinds: dict[str, dict[int, int]] = {}
        self._entries: list[LeftOut[T]] = []
        self._left_out: dict[str, list[LeftOut[T]]] = {}

    def quiet(self, actor: int, accesses: Mapping[str, int]) -> bool:
        """Return whether nobody else is known to have made a conflicting access."""
        if ANYTHING in accesses:
            return False
        curious = any(other != actor for other in self.kinds.get(ANYTHING, _NOBODY))
        for name, kind in accesses.items():
            if curious and kind != READ:
                return False
            for other, theirs in self.kinds.get(name, _NOBODY).items():
                if other != actor and kind | theirs not in _COMMUTE:
                    return False
        return True

    def leave_out(self, actor: int, accesses: Mapping[str, int], what: T) -> None:
        """Leave something out as long as the actor's transition seems quiet."""
        entry = LeftOut(actor, accesses, what)
        self._entries.append(entry)
        for name in accesses:
            self._left_out.setdefault(name, []).append(entry)

    def observe(self, steps: Iterable[Step]) -> list[T]:
        """Learn from transitions; return what can be left out no longer."""
        back: list[T] = []
        for step in steps:
            actor = step.actor
            for name, kind in step.accesses.items():
                known = self.kinds.get(name, _NOBODY).get(actor, 0)
                if known | kind != known:
                    back += self._note(actor, name, kind)
        return back

    def observe_waiting(self, actor: int, name: str) -> list[T]:
        """Learn that an actor would take a lock if it could; as `observe`."""
        if self.kinds.get(name, _NOBODY).get(actor, 0) & WRITE:
            return []
        return self._note(actor, name, WRITE)

    def _note(self, actor: int, name: str, kind: int) -> list[T]:
        by_actor = self.kinds.setdefault(name, {})
        by_actor[actor] = by_actor.get(actor, 0) | kind
        doubtful = self._entries if name == ANYTHING else self._left_out.get(name, ())
        back = []
        for entry in doubtful:
            if not entry.back and not self.quiet(entry.actor, entry.accesses):
                entry.back = True
                back.append(entry.what)
        if name in self._left_out:
            self._left_out[name] = [e for e in self._left_out[name] if not e.back]
        return back

    def entries(self) -> Iterator[LeftOut[T]]:
        """Yield what is left out."""
        return (entry for entry in self._entries if not entry.back)
