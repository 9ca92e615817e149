"""How progress looks: a live display on a terminal, plain lines elsewhere. All of it on standard error."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from exasol_like_dss.lib.progress import Progress, Step

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_STATUS_EVERY_S = 15.0
_MIB = 1 << 20


def make_progress(*, plain: bool) -> Progress:
    """The display that fits standard error. plain: lines even on a terminal (log lines would tear a live display)."""
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" and not plain:
        return LiveProgress()
    return PlainProgress()


def amount(step: Step) -> str:
    """``120/2048 MiB (6 %)``, or nothing where no bytes are known."""
    if not step.done_bytes:
        return ""
    if not step.total_bytes:
        return f"{step.done_bytes / _MIB:.0f} MiB"
    share = 100 * step.done_bytes / step.total_bytes
    return f"{step.done_bytes / _MIB:.0f}/{step.total_bytes / _MIB:.0f} MiB ({share:.0f} %)"


class PlainProgress(Progress):
    """A line when a step starts and ends; what it is doing at most every 15 seconds."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[int, float] = {}

    def on_start(self, step: Step) -> None:
        self._shown[id(step)] = time.monotonic()
        self._line(step, f"{step.name} …")

    def on_end(self, step: Step) -> None:
        self._shown.pop(id(step), None)
        self._line(step, f"{step.name} {'failed' if step.failed else 'done'} ({step.elapsed_s:.1f} s)")

    def on_status(self, step: Step) -> None:
        now = time.monotonic()
        if now - self._shown.get(id(step), now) >= _STATUS_EVERY_S:
            self._shown[id(step)] = now
            self._line(step, " ".join(filter(None, (f"{step.name}:", amount(step), step.status))))

    def on_note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def _line(self, step: Step, text: str) -> None:
        clock = time.strftime("%H:%M:%S")
        print(f"{clock} {'  ' * len(step.parents)}{text}", file=sys.stderr, flush=True)


class LiveProgress(Progress):
    """The running steps, nested, with time and bytes; finished ones stay above as lines."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._console: Console = Console(stderr=True, highlight=False)
        self._spinner = Spinner("dots")
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=8, transient=True)
        self._live.start()

    def close(self) -> None:
        self._live.stop()

    def reopen(self) -> None:
        self._live.start()

    def on_end(self, step: Step) -> None:
        mark = "[red]✗[/]" if step.failed else "[green]✓[/]"
        self._console.print(f"{'  ' * len(step.parents)}{mark} {_plain(step.name)} [dim]{step.elapsed_s:.1f} s[/]")

    def on_note(self, text: str) -> None:
        self._console.print(_plain(text))

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        frame = self._spinner.render(time.monotonic())
        lines: list[RenderableType] = []
        for step in list(self.running):
            line = Text("  " * len(step.parents))
            line.append_text(frame if isinstance(frame, Text) else Text("·"))
            line.append(f" {step.name}")
            line.append(f"  {step.elapsed_s:.0f} s  {amount(step)} {step.status}".rstrip(), style="dim")
            line.truncate(max(20, self._console.width - 1), overflow="ellipsis")
            lines.append(line)
        return Group(*lines)


def _plain(text: str) -> str:
    """``text`` with what Rich would take for markup escaped."""
    from rich.markup import escape

    return escape(text)
