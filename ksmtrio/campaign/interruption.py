# SPDX-License-Identifier: GPL-2.0-or-later
"""SIGINT and SIGTERM, held until what was found is out.

A campaign ends early at the first signal and then still saves and reports; a second one, from an
impatient finger or a script, must not cost the results. Tests: `tests/cli/test_cli_stress.py`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Final, Self

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Notes signals instead of dying of them; use as a context manager, around the report, too.

    Does nothing outside the main thread, where Python delivers no signals.

    Attributes:
        seen: whether a signal has come.
    """

    def __init__(self) -> None:
        self.seen = False
        self._tell: Callable[[], None] | None = None
        self._before: dict[signal.Signals, Any] = {}

    def tell(self, listener: Callable[[], None] | None) -> None:
        """Have `listener` called at each signal, and at once if one has come; None: nobody.

        It is called in a signal handler, between any two bytecodes of the main thread.
        """
        self._tell = listener
        if self.seen and listener is not None:
            listener()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, signal.SIG_DFL if before is None else before)
        self._before.clear()

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.seen = True
        if self._tell is not None:
            self._tell()
