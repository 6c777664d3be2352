"""How the command line looks: progress on standard error, results on standard output."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from time import monotonic
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from vcn_ray.health.finding import Finding
from vcn_ray.redact import clean, clean_lines, redact
from vcn_ray.run.events import DamageFound, Event, Failed, StepProgress, TitleDone, WorkDone
from vcn_ray.run.failures import Failure
from vcn_ray.run.status import TitleStatus
from vcn_ray.run.summary import warning_text
from vcn_ray.run.time_left import TimeLeft
from vcn_ray.steps import STEPS

LOG_WIDTH = 160  # where there is no terminal to ask
LOG_SECONDS = 20.0  # in a log file, progress is a line now and then
DOING = {step.name: step.doing for step in STEPS} | {
    "plan": "reading the catalog",
    "sample": "rendering the film",
    "download": "fetching the pack",
    "verify": "comparing files",
    "check": "checking faces",
    "prior": "measuring the prior",
    "speed": "timing packs",
}


def say(text: str) -> None:
    """Lines of a result, for people, on standard output."""
    sys.stdout.write(clean_lines(text) + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line about what went wrong, on standard error."""
    sys.stderr.write(clean_lines(text) + "\n")
    sys.stderr.flush()


def say_json(content: dict[str, Any]) -> None:
    """The last line of a command, for machines; JSON escapes what is not printable."""
    say(json.dumps(_redacted(content), sort_keys=True))


def _redacted(value: Any) -> Any:
    """Plain data without credentials in its texts."""
    if isinstance(value, dict):
        return {name: _redacted(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(each) for each in value]
    return redact(value) if isinstance(value, str) else value


def show_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))  # names are no markup
    Console(width=None if sys.stdout.isatty() else LOG_WIDTH).print(table)


def minutes(seconds: float) -> str:
    """Seconds as people write them: 7 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number and what it counts: 1 title, 2 titles."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def title_line(status: TitleStatus) -> str:
    """One line about a finished title."""
    people = count(status.people, "person", "people")
    parts = [f"{people} in {count(status.tracks, 'track')}"]
    if status.unknown:
        parts.append(f"{status.unknown} unknown")
    if status.no_face:
        parts.append(f"{status.no_face} without a face")
    if status.corrections:
        parts.append(count(status.corrections, "correction"))
    if status.misfits:
        parts.append(misfit_words(status.misfits))
    parts.append("already done" if status.reused else minutes(status.seconds))
    parts += [f"warning: {warning_text(code).message}" for code in status.warnings]
    return clean(f"{status.title}: {', '.join(parts)}")


def misfit_words(misfits: int) -> str:
    """How many corrections do not fit a result, in words."""
    return f"{count(misfits, 'correction')} {'does' if misfits == 1 else 'do'} not fit any more"


def failure_line(failure: Failure) -> str:
    """One line about something that failed."""
    where = failure.uri if failure.segment is None else f"{failure.uri} (segment {failure.segment})"
    text = failure.message.removeprefix(f"{failure.uri}: ")
    return clean(f"failed: {where}: {failure.reason}: {text}")


def finding_line(finding: Finding) -> str:
    """One line about something that was checked."""
    where = f"{finding.node}: " if finding.node else ""
    advice = f": {finding.advice}" if finding.advice else ""
    return clean(f"{finding.state:<8} {where}{finding.subject}: {finding.text}{advice}")


class JsonLog:
    """The events of a run as JSON, one a line on standard error, for log collectors.

    Args:
        run_id: Name of the run, in every line.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self._time_left = TimeLeft()
        self._told: dict[str, float] = {}  # when each step was last heard of

    def __enter__(self) -> JsonLog:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def __call__(self, event: Event) -> None:
        """Write an event."""
        self._time_left(event)
        match event:
            case StepProgress(step, subject, done, total):
                self._progress(step, subject, done / total)
            case TitleDone(status):
                self._write("info", "title_done", **asdict(status))
            case Failed(failure):
                self._write("error", "failed", **asdict(failure))
            case WorkDone(work):
                self._write("info", "step_done", **asdict(work))
            case DamageFound(message):
                self._write("warning", "damage_found", message=message)

    def advance(self, step: str, done: float) -> None:
        """Write how far a step without a subject is, from 0 to 1."""
        self._progress(step, "", done)

    def note(self, text: str) -> None:
        """Write what is said besides."""
        self._write("warning", "note", message=text)

    def _progress(self, step: str, subject: str, fraction: float) -> None:
        now = monotonic()
        if fraction < 1 and now - self._told.get(step, -LOG_SECONDS) < LOG_SECONDS:
            return
        self._told[step] = now
        left = self._time_left.seconds()
        self._write(
            "info",
            "progress",
            step=step,
            subject=subject,
            progress=round(fraction, 4),
            seconds_left=None if left is None else round(left),
        )

    def _write(self, level: str, event: str, **content: object) -> None:
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": when, "level": level, "run": self._run_id, "event": event, **content}
        complain(json.dumps(_redacted(line)))


class ProgressDisplay:
    """A live display of a run's steps; bars on a terminal, elsewhere a line now and then."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not self._console.is_terminal,
        )
        self._time_left = TimeLeft()
        self._left: TaskID | None = None  # the line that says how long the run takes
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._told = monotonic()
        self._begun: set[str] = set()  # steps that a log has heard of
        self._unfinished: set[tuple[str, str]] = set()  # with subjects, and not heard to end

    def __enter__(self) -> ProgressDisplay:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        self._time_left(event)
        match event:
            case StepProgress(step, subject, done, total):
                self._advance(step, subject, done, total)
            case TitleDone(status):
                self._line(say, title_line(status))
            case Failed(failure):
                self._line(complain, failure_line(failure))
            case DamageFound(message):
                self._line(complain, redact(f"{message}; it is done again"))
            case WorkDone():
                self._show_time_left()

    def advance(self, step: str, done: float) -> None:
        """Show how far a step without a subject is, from 0 to 1."""
        self._advance(step, "", done, 1.0)

    def note(self, text: str) -> None:
        """Show what is said besides."""
        self._line(complain, text)

    def _advance(self, step: str, subject: str, done: float, total: float) -> None:
        key = (step, subject)
        if key not in self._tasks:
            words = clean(f"{DOING.get(step, step)} {subject}".strip())
            self._tasks[key] = self._progress.add_task(words, total=total)
        self._progress.update(self._tasks[key], completed=done, total=total)
        if done >= total:
            self._progress.remove_task(self._tasks.pop(key))
        if not self._console.is_terminal:
            self._log(step, subject, done / total)

    def _log(self, step: str, subject: str, fraction: float) -> None:
        """A plain line where a step is heard of for the first time, and then now and again.

        What a log has heard of is also heard to end.
        """
        now, ends = monotonic(), fraction >= 1 and (step, subject) in self._unfinished
        if step in self._begun and now - self._told < LOG_SECONDS and not ends:
            return
        self._begun.add(step)
        self._told = now
        if fraction < 1:
            self._unfinished.add((step, subject))
        else:
            self._unfinished.discard((step, subject))
        words = f"{DOING.get(step, step)} {subject}".strip()
        complain(clean(f"{words}: {fraction:.0%}{self._about(', ')}"))

    def _about(self, before: str) -> str:
        """How long the run still takes, in words; empty while that is unknown."""
        left = self._time_left.seconds()
        return f"{before}about {minutes(left)} left" if left else ""

    def _show_time_left(self) -> None:
        """Keep one line of the display for the time that is left."""
        words = self._about("")
        if self._left is not None:
            self._progress.remove_task(self._left)
        self._left = self._progress.add_task(words, total=None) if words else None

    def _line(self, write: Any, text: str) -> None:
        if self._progress.live.is_started:
            # Bars leave the screen for the moment of a line, which may go to another stream.
            self._progress.stop()
            write(text)
            self._progress.start()
        else:
            write(text)
