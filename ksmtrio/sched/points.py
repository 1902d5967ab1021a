# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels of schedule points, declared once per kernel function.

A label is ``function.step`` with the step number of the specification; a helper without a tag of
its own appends its name (``get_ksm_page.4/put_page``), further operations of one step ``#2``,
``#3``.
Using a step that was not declared is a `KeyError` and thus a fault of ours. Tests:
`tests/unit/test_points.py`, which also checks that each declared label is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import attrs


@attrs.frozen
class PointInfo:
    """One declared schedule point.

    `step` is the specification's, e.g. ``GK.4``; `file` is the module that holds the point.
    """

    label: str
    function: str
    tag: str
    step: str
    file: str


class Points(dict[str, str]):
    """The points of one kernel function: step as in the specification -> label.

    Args:
        module: `__name__` of the declaring module.
        function: kernel name of the function.
        tag: its tag in the specification, or "" where it has none.
        steps: whitespace-separated steps.
    """

    def __init__(self, module: str, function: str, tag: str, steps: str) -> None:
        super().__init__((step, f"{function}.{step}") for step in steps.split())
        self.function = function
        self.tag = tag
        self.file = module.replace(".", "/") + ".py"

    def infos(self) -> Iterator[PointInfo]:
        """Yield each declared point in order."""
        for step, label in self.items():
            number = step.split("/")[0].split("#")[0]
            spec = f"{self.tag}.{number}" if self.tag else ""
            yield PointInfo(label, self.function, self.tag, spec, self.file)


def points_of(modules: Iterator[ModuleType] | list[ModuleType]) -> list[PointInfo]:
    """Return the points declared in `modules`, in order of declaration."""
    found: list[PointInfo] = []
    seen: set[str] = set()
    for module in modules:
        for value in vars(module).values():
            if (
                isinstance(value, Points)
                and value.file == module.__name__.replace(".", "/") + ".py"
            ):
                for info in value.infos():
                    if info.label not in seen:
                        seen.add(info.label)
                        found.append(info)
    return found
