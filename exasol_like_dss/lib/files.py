"""Result files appear whole or not at all: they are written under another name in the same folder, then renamed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_atomically(target: Path, *, synchronised: bool = True) -> Iterator[Path]:
    """The temporary path to write to. It becomes ``target`` when the block ends well, and is removed when it doesn't.

    The temporary name is always the same (``.<name>.part``): what a killed process left, the next run writes over.
    rename(2) replaces the target in one step. The data is synchronised before it: a power cut leaves no empty file.
    synchronised: ``False`` where an empty file does no harm. Raises ``OSError`` as the file system does.
    """
    partial = target.with_name(f".{target.name}.part")
    try:
        yield partial
        if synchronised:
            with partial.open("rb") as file:
                os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def write_text_atomically(target: Path, text: str, *, synchronised: bool = True) -> None:
    """Writes ``text`` as UTF-8. Raises ``OSError``."""
    with written_atomically(target, synchronised=synchronised) as partial:
        partial.write_text(text, encoding="utf-8")
