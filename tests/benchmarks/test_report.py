"""Tables, result files, and where the command line puts them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks.command import RESULTS, make_parser, read_options, save, without_folders
from benchmarks.report import Report
from benchmarks.result_file import FACTS, read_result
from vcn_ray.steps import METHOD_VERSION

SCRIPT = RESULTS.parent / "method" / "film_tracks.py"


def test_means_are_over_films_and_leave_out_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = Report({"film": "", "way": "", "x": ".2f", "note": ""})
    for film, x in (("a", 1), ("b", 4)):
        report.add({"film": film, "way": "w", "x": x, "note": "n"})
        report.add({"film": film, "way": "v"})
    report.add_means("film", ["way"])
    assert report.rows[-2] == {"film": "mean", "way": "w", "x": 2.5, "note": None}
    assert "| mean | w | 2.50 | - |" in capsys.readouterr().out
    with pytest.raises(KeyError):
        report.add({"no such column": 1})


def options_of(*words: str) -> argparse.Namespace:
    parser = make_parser("About.", str(SCRIPT))
    parser.add_argument("films", nargs="*")
    parser.add_argument("--quick", action="store_true")
    return read_options(parser, words)


def test_a_result_file_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = options_of("/here/a b.npz", "--results", str(tmp_path), "--variant", "few")
    first, second = Report({"film": "", "x": ".2f"}), Report({"y": ""})
    first.add({"film": "a", "x": 1.234})
    first.add({"film": "b"})
    second.add({"y": -3})
    save(options, first, second)
    result = read_result(tmp_path / "film_tracks-few.md")
    assert set(FACTS) <= set(result.facts)
    assert result.facts["method version"] == METHOD_VERSION
    assert "cores" in result.facts["machine"]
    command = result.facts["command"]
    assert command.startswith("`python -m benchmarks.method.film_tracks 'a b.npz' --results ")
    assert "/" not in command
    assert result.tables == [
        [{"film": "a", "x": "1.23"}, {"film": "b", "x": "-"}],
        [{"y": "-3"}],
    ]


def test_a_quick_run_never_writes_among_the_committed_results(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert options_of().results == RESULTS
    assert options_of("--quick").results is None
    assert options_of("--quick", "--results", "elsewhere").results.name == "elsewhere"
    with pytest.raises(SystemExit):
        options_of("--quick", "--results", str(RESULTS))
    assert "another folder" in capsys.readouterr().err


def test_a_command_names_no_folder_of_this_machine() -> None:
    words = ["/data/clips", "--packs", "dlib,/packs/a,b/c", "--pack=/packs/a", "--set", "x.y=1,2"]
    wanted = ["clips", "--packs", "dlib,a,b/c", "--pack=a", "--set", "x.y=1,2"]
    assert without_folders(words) == wanted
