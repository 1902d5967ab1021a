# SPDX-License-Identifier: GPL-2.0-or-later
"""What KSM sets up at boot."""

from __future__ import annotations

from tests.kernel_world import KernelWorld


def test_files_and_the_memory_callback_are_there_before_anybody_runs() -> None:
    w = KernelWorld()
    files = next(d.attributes for d in w.g.sysfs if d.path == "/sys/kernel/mm/ksm")
    writable = [name for name, attribute in files.items() if attribute.store is not None]
    assert writable == ["sleep_millisecs", "pages_to_scan", "run"]
    assert len(files) == 8
    assert [(block.name, block.priority) for block in w.g.memory_chain._chain] == [("ksm", 100)]
