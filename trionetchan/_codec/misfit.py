"""What does not fit, and where."""

from __future__ import annotations

from .._errors import UnfitValue

__all__ = ["Misfit"]


class Misfit(UnfitValue):
    """Something in a column does not fit. On its way out it gathers the path to it."""

    def __init__(self, index: int, complaint: str) -> None:
        super().__init__(complaint)
        self.index = index
        self.complaint = complaint
        self.path: list[str] = []  # the innermost part first

    def __str__(self) -> str:
        path = self.path[::-1]
        if len(path) > 8:
            path[4:-4] = ["…"]
        return f"{', '.join(path)}: {self.complaint}" if path else self.complaint
