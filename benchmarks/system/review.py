"""How long does the page of review make a reviewer wait on a large title?

    python -m benchmarks.system.review [--tracks 5000] [--people 300] [--faces 100] [--repeats 9]

A made-up title is written into a temporary folder: people, tracks and faces as given, a fiftieth of
the tracks of nobody, pictures of real faces. `vcn review` serves it, and Chromium opens the page in
a window of 1280 x 800. Each row is one thing that a reviewer does, measured inside the page, from
the event until the picture that shows its result is drawn. The goal is 200 ms.

How to read a row: `opened for the first time` is once a title and server; the page has the frame
and the text of the page by then (`first paint`). `page shown again` is a reload: people, faces and
their pictures. `scrolled to the end` ends once all pictures there are decoded. A merge of `a few`
tracks joins the two people with the least time, one of `many` a person with hundreds of tracks and
another one. `server` is the resident memory of the server after all of it, without the browser.

Needs Chromium, and selenium: `pip install -e '.[test]'`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Report, say
from tests.helpers.browser import open_browser
from tests.helpers.review_data import crowd_title, write_title
from vcn_ray.io.storage import Storage

COLUMNS = {"what": "", "times": "d", "median ms": ".0f", "slowest ms": ".0f", "MiB": ".0f"}
SAMPLED = 2  # faces of a track with pictures
WAIT_SECONDS = 120

TOOLS = """
const $ = (query) => document.querySelector(query);
const frame = () => new Promise(requestAnimationFrame);
const painted = async () => { await frame(); await frame(); };
const until = async (holds) => { while (!holds()) await frame(); };
const pictures = (where) => [...document.querySelectorAll(where + " img")];
const drawn = async (where) => {
  await until(() => pictures(where).every((each) => each.complete));
  await Promise.all(pictures(where).map((each) => each.decode()));
  await painted();
};
const rows = () => [...document.querySelectorAll("#people .row")];
const key = (letter) => document.body.dispatchEvent(
  new KeyboardEvent("keydown", { key: letter, bubbles: true, cancelable: true }));
const show = async (id) => {
  const list = $("#people");
  list.scrollTop = 0;
  await painted();
  for (; !$(`#people [data-id="${id}"]`); await painted()) list.scrollTop += list.clientHeight;
  $(`#people [data-id="${id}"]`).click();
  await drawn("#faces");
};
const timed = async (act, holds) => {
  $("#said").textContent = "";
  const began = performance.now();
  await act();
  await until(holds);
  await painted();
  return performance.now() - began;
};
const done = arguments[arguments.length - 1];
"""
"""What measurements inside the page are made with."""

SHOWN = """
(async () => {
  await until(() => document.documentElement.dataset.ready);
  await until(() => pictures("#faces").length);
  await drawn("#faces");
  await drawn("#people");
  done([performance.now(), performance.getEntriesByName("first-contentful-paint")[0].startTime]);
})();
"""

SCROLL = """
(async () => {
  await show("p001");
  const faces = $("#faces");
  faces.scrollTop = 0;
  await drawn("#faces");
  const began = performance.now();
  faces.scrollTop = faces.scrollHeight;
  await painted();
  await drawn("#faces");
  done(performance.now() - began);
})();
"""

MERGE = """
(async () => {
  const [one, into] = arguments;
  await show(one);
  key("m");
  await until(() => $("#choose").open);
  const filter = $("#choose-filter");
  filter.value = into;
  filter.dispatchEvent(new Event("input"));
  await until(() => $(`#choose-list [data-id="${into}"]`));
  await new Promise((go) => setTimeout(go, 300));
  done(await timed(() => $(`#choose-list [data-id="${into}"]`).click(),
    () => $("#said").textContent.includes("is now a part of")));
})();
"""

NAME = """
(async () => {
  const [who, name] = arguments;
  await show(who);
  $("#new-name").value = name;
  const submit = () => $("#naming").requestSubmit();
  done(await timed(submit, () => $("#said").textContent.includes(name)));
})();
"""

UNDO = """
(async () => {
  done(await timed(() => key("u"), () => $("#said").textContent.startsWith("Undone")));
})();
"""

QUESTION = """
(async () => {
  const before = $("#ask-body").firstChild;
  key(" ");
  done(await timed(() => key(" "), () => $("#ask-body").firstChild !== before));
})();
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    for name, value in (("people", 300), ("tracks", 5000), ("faces", 100), ("repeats", 9)):
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N")
    options = read_options(parser, argv)
    report = Report(COLUMNS)
    with TemporaryDirectory() as folder:
        say("writing the title")
        title = crowd_title(options.people, options.tracks, SAMPLED, options.faces - SAMPLED - 1)
        write_title(Storage.open(folder), title)
        with served(folder) as (address, process), open_browser() as driver:
            driver.set_script_timeout(WAIT_SECONDS)
            measure(driver, address, options, report)
            report.add({"what": "server", "MiB": memory_of(process.pid)})
    save(options, report)


@contextmanager
def served(output: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `vcn review`; gives its address and process."""
    words = [sys.executable, "-m", "vcn_ray", "review", output, "--no-browser", "--who", "ann"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "it is a pipe"
        lines = iter(process.stdout.readline, "")
        address = next(line.strip() for line in lines if line.startswith("http"))
        try:
            yield address, process
        finally:
            process.terminate()


def measure(driver: Chrome, address: str, options: argparse.Namespace, report: Report) -> None:
    """Do what a reviewer does, and add a row for each kind of it."""

    def ask(script: str, *given: str) -> Any:
        return driver.execute_async_script(TOOLS + script, *given)

    def add(what: str, times: Sequence[float]) -> None:
        slowest = max(times)
        numbers = {"times": len(times), "median ms": median(times), "slowest ms": slowest}
        report.add({"what": what, **numbers})

    driver.get(address)
    add("opened for the first time", [ask(SHOWN)[0]])
    shown = []
    for _ in range(options.repeats):
        driver.get("about:blank")
        driver.get(address)
        shown.append(ask(SHOWN))
    add("first paint", [first for _, first in shown])
    add("page shown again", [whole for whole, _ in shown])
    rounds = range(options.repeats)
    add("scrolled to the end", [ask(SCROLL) for _ in rounds])
    add("named", [ask(NAME, f"p{n + 20:03d}", f"Name {n}") for n in rounds])
    last = options.people
    few = [ask(MERGE, f"p{last - 2 * n:03d}", f"p{last - 2 * n - 1:03d}") for n in rounds]
    add("merged, a few tracks", few)
    add("undone", [ask(UNDO) for _ in rounds])
    many = []
    for n in range(2, 2 + min(options.repeats, 5)):
        many.append(ask(MERGE, f"p{n:03d}", "p001"))
        ask(UNDO)
    add("merged, many tracks", many)
    add("next question", [ask(QUESTION) for _ in rounds])


def memory_of(pid: int) -> float:
    """Resident memory of a process, MiB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    kib = next(line.split()[1] for line in lines if line.startswith("VmRSS"))
    return int(kib) / 1024


if __name__ == "__main__":
    main()
