# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m ksmtrio``, and the command `ksmtrio`. Tests: `tests/cli/`.

Imports as little as it can before an interruption is looked after: one that comes while the rest is
imported ends in one line, as it does later.
"""

from __future__ import annotations

import os
import signal
from importlib import import_module
from types import FrameType
from typing import Final

_INTERRUPTED: Final = 130
"""As in `ksmtrio.cli.exit_codes`, which is not imported yet."""


def _leave(_number: int, _frame: FrameType | None) -> None:
    """End at once: nothing was done yet that would have to be put in order."""
    os.write(2, b"ksmtrio: error: interrupted\n")
    os._exit(_INTERRUPTED)


def main() -> None:
    """Run the command and exit with its code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    run = import_module("ksmtrio.cli.main").main
    try:
        if before is signal.default_int_handler:
            signal.signal(signal.SIGINT, before)
        run()
    except KeyboardInterrupt:
        _leave(signal.SIGINT, None)
    finally:  # all is said and done: the exit code stands
        signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    main()
