"""Progress bars on standard error."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressBars:
    """One progress bar per stage, in the order in which stages begin. Use it as a context manager.

    If standard error is not a terminal, a line is printed at every tenth of a stage.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = self._console.is_terminal
        self._tasks: dict[str, TaskID] = {}
        self._tenths: dict[str, int] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            disable=not self._live,
        )

    def __enter__(self) -> ProgressBars:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show_encoding(self, done: int, total: int) -> None:
        """Moves the bar of the text encoder."""
        self.show("encoding", done, total)

    def say(self, line: str) -> None:
        """Prints a line above the bars."""
        print(line, file=sys.stderr, flush=True)

    def show(self, stage: str, done: int, total: int, note: str = "") -> None:
        """Moves the bar of a stage, and shows `note` next to it."""
        if stage not in self._tasks:
            self._tasks[stage] = self._progress.add_task(stage.replace("_", " "), total=total, note="")
        self._progress.update(self._tasks[stage], completed=done, note=note)
        tenth = 10 * done // max(total, 1)
        if not self._live and tenth != self._tenths.get(stage):
            self._tenths[stage] = tenth
            self.say(f"{stage.replace('_', ' ')}: {done:,} of {total:,}  {note}".rstrip())
