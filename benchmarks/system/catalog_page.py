"""How long does the page of the catalog take to open and to filter?

    python -m benchmarks.system.catalog_page [--titles 500] [--people 5000] [--repeats 9]

The page of a made-up registry, every person with a picture of a real face, is opened by Chromium
from a file in a window of 1280 x 800. `written` is CPU time that makes the page. All other times
are measured inside the page: `first paint` and `loaded` from the start of the navigation, a filter
and the heat map from the event until the picture that shows the result is drawn.

Needs Chromium, and selenium: `pip install -e '.[test]'`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from selenium.webdriver import Chrome

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Report, say
from tests.helpers.browser import open_browser
from tests.helpers.catalog_data import made_catalog
from vcn_ray.report.catalog_view import build_catalog_view
from vcn_ray.report.pages import render_catalog

COLUMNS = {"what": "", "times": "d", "median ms": ".0f", "slowest ms": ".0f", "MiB": ".1f"}
WAIT_SECONDS = 120

SHOWN = """
const done = arguments[arguments.length - 1];
const ready = () => {
  if (!("ready" in document.documentElement.dataset)) return requestAnimationFrame(ready);
  const navigation = performance.getEntriesByType("navigation")[0];
  if (!navigation.loadEventEnd) return requestAnimationFrame(ready);
  const paint = performance.getEntriesByName("first-contentful-paint")[0];
  if (!paint) return requestAnimationFrame(ready);
  done([paint.startTime, navigation.loadEventEnd]);
};
ready();
"""

CHANGED = """
const [id, value, event, done] = arguments;
const field = document.getElementById(id);
const began = performance.now();
field.value = value;
field.dispatchEvent(new Event(event));
requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    for name, value in (("titles", 500), ("people", 5000), ("repeats", 9)):
        parser.add_argument(f"--{name}", type=int, default=value, metavar="N")
    options = read_options(parser, argv)
    report = Report(COLUMNS)
    with TemporaryDirectory() as folder:
        say("writing the page")
        tables = made_catalog(options.titles, options.people)
        began = time.process_time()
        page = render_catalog(build_catalog_view(tables))
        seconds = time.process_time() - began
        path = Path(folder) / "catalog.html"
        path.write_text(page, encoding="utf-8")
        add(report, "written", [1000 * seconds], path.stat().st_size / 2**20)
        with open_browser() as driver:
            driver.set_script_timeout(WAIT_SECONDS)
            measure(driver, path.as_uri(), options.repeats, report)
    save(options, report)


def measure(driver: Chrome, address: str, repeats: int, report: Report) -> None:
    """Open the page and use it, and add a row for each kind of use."""

    def change(*given: str) -> Any:
        return driver.execute_async_script(CHANGED, *given)

    shown = []
    for _ in range(repeats):
        driver.get("about:blank")
        driver.get(address)
        shown.append(driver.execute_async_script(SHOWN))
    add(report, "first paint", [first for first, _ in shown])
    add(report, "loaded", [loaded for _, loaded in shown])
    rounds = range(repeats)
    add(report, "name filter", [change("by-name", f"a{n}", "input") for n in rounds])
    change("by-name", "", "input")
    add(report, "title filter", [change("by-title", f"season {n}", "input") for n in rounds])
    change("by-title", "", "input")
    add(report, "sorted by name", [change("sort", "name", "change") for _ in rounds])
    add(report, "heat map of a season", [change("map-of", "499", "change") for _ in rounds])
    add(report, "heat map of all titles", [change("map-of", "-1", "change") for _ in rounds])


def add(report: Report, what: str, times: Sequence[float], mib: float | None = None) -> None:
    numbers = {"times": len(times), "median ms": median(times), "slowest ms": max(times)}
    report.add({"what": what, **numbers, "MiB": mib})


if __name__ == "__main__":
    main()
