# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m ksmtrio``, and the command `ksmtrio`. Tests: `tests/cli/`.

Imports as little as it can before an interruption is looked after: one that comes while the rest is
imported ends in one line, as it does later.
"""

from __future__ import annotations

import os
import signal
import sys
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
    from ksmtrio.cli.main import main as run

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
