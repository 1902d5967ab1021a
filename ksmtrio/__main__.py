# SPDX-License-Identifier: GPL-2.0-or-later
"""``python -m ksmtrio``: the same as the command `ksmtrio`. Tests: `tests/cli/`."""

from __future__ import annotations

from ksmtrio.cli.main import main

if __name__ == "__main__":
    main()
