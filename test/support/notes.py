"""Progress whose notes a test can read."""

from __future__ import annotations

from exasol_like_dss.lib.progress import Progress


class Notes(Progress):
    """notes: what was said, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def on_note(self, text: str) -> None:
        self.notes.append(text)
