from __future__ import annotations

import pytest

from vcn_ray import console
from vcn_ray.console import (
    ProgressDisplay,
    count,
    failure_line,
    minutes,
    show_table,
    title_line,
)
from vcn_ray.run.events import Failed, StepProgress, TitleDone
from vcn_ray.run.failures import Failure
from vcn_ray.run.status import TitleStatus

STATUS = TitleStatus("Film [x265] [/b]", "id", "folder", 1, 4, 1, 2, 75.2, ("partial",), False)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (9000, "2 h 30 min")],
)
def test_minutes(seconds: float, text: str) -> None:
    assert minutes(seconds) == text


def test_count() -> None:
    assert [count(n, "title") for n in (0, 1, 2)] == ["0 titles", "1 title", "2 titles"]
    assert count(2, "person", "people") == "2 people"


def test_a_title_s_line() -> None:
    assert title_line(STATUS) == (
        "Film [x265] [/b]: 1 person in 4 tracks, 1 unknown, 2 without a face, 1 min 15 s, "
        "warning: a part of the title could not be read; people who appear only there are missing"
    )


def test_a_failure_s_line() -> None:
    failure = Failure("/a.mp4", "plan", None, "missing", "/a.mp4: no such file")
    assert failure_line(failure) == "failed: /a.mp4: missing: no such file"


def test_control_characters_stay_off_the_terminal() -> None:
    failure = Failure("/a\nb\x1b[31m.mp4", "plan", None, "missing", "no such file")
    assert failure_line(failure) == "failed: /a?b?[31m.mp4: missing: no such file"


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("Titles", ["title"], [["Film [x265] [/b]"]])
    assert "Film [x265] [/b]" in capsys.readouterr().out


def test_results_go_to_one_stream_and_troubles_to_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressDisplay() as display:
        display(StepProgress("detect", "a [/b]", 1, 2))
        display(TitleDone(STATUS))
        display(Failed(Failure("/b.mp4", "detect", 3, "decode_error", "bad")))
        display(StepProgress("detect", "a [/b]", 2, 2))
    told = capsys.readouterr()
    assert told.out == title_line(STATUS) + "\n"
    assert told.err == (
        "detecting faces a [/b]: 50%\nfailed: /b.mp4 (segment 3): decode_error: bad\n"
        "detecting faces a [/b]: 100%\n"
    )


def test_a_log_gets_a_line_for_each_step_and_then_one_now_and_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(second) for second in (0, 1, 2, 3, 30, 31))
    monkeypatch.setattr(console, "monotonic", lambda: next(clock))
    with ProgressDisplay() as display:
        display(StepProgress("detect", "film", 1, 4))
        display(StepProgress("detect", "film", 2, 4))
        display(StepProgress("adapt", "film\x1b[2K", 0.5, 1))
        display(StepProgress("detect", "film", 3, 4))
        display(StepProgress("detect", "film", 4, 4))
    assert capsys.readouterr().err.splitlines() == [
        "detecting faces film: 25%",
        "adapting the encoder film?[2K: 50%",
        "detecting faces film: 75%",
        "detecting faces film: 100%",
    ]
