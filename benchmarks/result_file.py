"""Result files: what one benchmark measured, on which machine, when, and by which command.

A result file is markdown. First comes a heading with the script's name, then one line
`- name: value` for each fact (date, machine, command and method version in every file), then the
tables. Notes in prose may stand between and after them.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.machine import describe_machine
from benchmarks.report import Report
from vcn_ray.steps import METHOD_VERSION

FACTS = ("date", "machine", "command", "method version")
"""The facts that every result file states."""


class Result(NamedTuple):
    """A result file as read."""

    facts: dict[str, str]
    tables: list[list[dict[str, str]]]  # rows as they are written, by column


def write_result(path: Path, command: str, reports: Sequence[Report]) -> None:
    """Write what was measured just now.

    Args:
        path: The file; one that exists is replaced.
        command: The command line that measured it.
        reports: Its tables.
    """
    facts = {
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "command": f"`{command}`",
        "method version": METHOD_VERSION,
        "load average at the end": f"{os.getloadavg()[0]:.1f}",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(result_text(path.stem, facts, reports), encoding="utf-8")


def result_text(heading: str, facts: Mapping[str, str], reports: Sequence[Report]) -> str:
    """The text of a result file."""
    head = "\n".join(f"- {name}: {value}" for name, value in facts.items())
    tables = ["\n".join(report.lines) for report in reports]
    return "\n\n".join([f"# {heading}", head, *tables]) + "\n"


def read_result(path: Path) -> Result:
    """Read the facts and the tables of a result file."""
    facts: dict[str, str] = {}
    tables: list[list[dict[str, str]]] = []
    columns: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            columns = []
            if line.startswith("- ") and not tables:
                name, _, value = line.removeprefix("- ").partition(": ")
                facts[name] = value
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not columns:
            columns = cells
            tables.append([])
        elif set(line) - set("|- "):
            tables[-1].append(dict(zip(columns, cells, strict=True)))
    return Result(facts, tables)
