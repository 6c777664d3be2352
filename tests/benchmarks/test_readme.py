"""The pages of the benchmarks: short, and with no number that their result files do not hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.command import RESULTS
from benchmarks.result_file import FACTS, read_result

PAGES = {
    name: (RESULTS.parent / name).read_text(encoding="utf-8")
    for name in ("README.md", "findings.md", "costs.md")
}
WORDS = {"README.md": 1600, "findings.md": 1800, "costs.md": 1200}
LINK = re.compile(r"\]\((results/[\w-]+\.md)\)")
DECIMAL = re.compile(r"\d+\.\d+")
OF_METHOD = re.compile(r"\(?METHOD [\d.]+\)?|\(\d\.\d\)")


@pytest.mark.parametrize("name", PAGES)
def test_the_pages_stay_short(name: str) -> None:
    assert len(PAGES[name].split()) <= WORDS[name]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.md")), ids=lambda path: path.stem)
def test_a_result_file_states_its_facts_and_is_linked(path: Path) -> None:
    assert set(FACTS) <= set(read_result(path).facts)
    assert f"results/{path.name}" in LINK.findall("".join(PAGES.values()))


@pytest.mark.parametrize("name", PAGES)
def test_every_number_beside_a_link_is_in_a_linked_file(name: str) -> None:
    for paragraph in re.split(r"\n\n|\n- ", PAGES[name]):
        if links := LINK.findall(paragraph):
            texts = [(RESULTS.parent / link).read_text(encoding="utf-8") for link in links]
            for number in DECIMAL.findall(OF_METHOD.sub("", paragraph)):
                found = [text for text in texts if re.search(rf"(?<![\d.]){number}(?!\d)", text)]
                assert found, f"{number} is in none of {links}"
