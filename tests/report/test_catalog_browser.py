"""The page of 500 titles and 5,000 people in a real browser, from a file, without a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.compute as pc
import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.helpers.browser import fetch_axe, logged, open_browser, set_dark, set_size, violations
from tests.helpers.catalog_data import made_catalog
from vcn_ray.report.catalog_view import CatalogTables, build_catalog_view
from vcn_ray.report.pages import render_catalog

pytestmark = pytest.mark.browser

SECONDS = 30  # for what takes milliseconds on a machine that is not busy
PICTURED = "return [...document.querySelectorAll('#cast .face')].slice(0, 12).every(" + (
    "(face) => face.style.backgroundImage.startsWith('url(\"data:image/webp'))"
)


@pytest.fixture(scope="module")
def tables() -> CatalogTables:
    return made_catalog(500, 5000)


@pytest.fixture(scope="module")
def address(tables: CatalogTables, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("catalog") / "catalog.html"
    path.write_text(render_catalog(build_catalog_view(tables)), encoding="utf-8")
    assert path.stat().st_size < 12e6
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with open_browser() as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
        yield driver


@pytest.fixture
def page(browser: Chrome, address: str) -> Iterator[Chrome]:
    set_size(browser, 1280, 800)
    browser.get("about:blank")
    browser.get(address)
    wait(browser, lambda: find(browser, "html[data-ready]"))
    yield browser
    assert logged(browser) == []


def find(page: Chrome, query: str) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, query)


def wait(page: Chrome, condition: Callable[[], object]) -> None:
    WebDriverWait(page, SECONDS, 0.05).until(lambda _: condition())


def enter(page: Chrome, query: str, text: str) -> None:
    field = find(page, query)[0]
    field.clear()
    field.send_keys(text)


def names(page: Chrome) -> list[str]:
    script = "return [...document.querySelectorAll('#cast strong')].map((each) => each.textContent)"
    return list(page.execute_script(script))


def test_it_opens_with_those_on_screen_longest_and_their_pictures(
    page: Chrome, tables: CatalogTables
) -> None:
    top = tables.people.slice(0, 3).to_pylist()
    assert names(page)[:3] == [
        row["name"] or f"Person {number}" for number, row in enumerate(top, start=1)
    ]
    assert find(page, "#found")[0].text == "5,000 people"
    assert len(find(page, "#cast > li")) < 200
    assert page.execute_script(PICTURED)
    painted = page.execute_script(
        "return performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    assert painted < 1000 * SECONDS


def test_filters_by_name_and_title_find_what_the_tables_hold(
    page: Chrome, tables: CatalogTables
) -> None:
    named = [row for row in tables.people.to_pylist() if row["name"]]
    expected = [row["name"] for row in named if "Béla" in row["name"]]
    enter(page, "#by-name", "bela")  # without accents, too
    assert find(page, "#found")[0].text == f"{len(expected)} of 5,000 people"
    assert names(page) == expected[: len(names(page))]
    find(page, "#by-name")[0].clear()
    enter(page, "#by-title", "season 100")
    members = tables.members.filter(pc.equal(tables.members["title"], "Season 100"))
    count = len(set(members["catalog_id"].to_pylist()))
    assert find(page, "#found")[0].text == f"{count} of 5,000 people"
    enter(page, "#by-name", "nobody has this name")
    assert find(page, "#found")[0].text == "0 of 5,000 people"
    assert not find(page, "#cast > li")


def test_sorting_and_the_boxes(page: Chrome, tables: CatalogTables) -> None:
    Select(find(page, "#sort")[0]).select_by_value("name")
    shown = names(page)
    named = [name for name in tables.people["name"].to_pylist() if name]
    assert shown == sorted(named)[: len(shown)]
    Select(find(page, "#sort")[0]).select_by_value("titles")
    most = max(tables.people["titles"].to_pylist())
    assert f"{most} titles" in find(page, "#cast > li")[0].text
    find(page, "#several")[0].click()
    several = sum(count > 1 for count in tables.people["titles"].to_pylist())
    assert find(page, "#found")[0].text == f"{several:,} of 5,000 people"


def test_more_people_come_by_scrolling_and_by_the_button(page: Chrome) -> None:
    before = len(find(page, "#cast > li"))
    page.execute_script("document.getElementById('more').scrollIntoView()")
    wait(page, lambda: len(find(page, "#cast > li")) > before)
    more = len(find(page, "#cast > li"))
    page.execute_script("document.getElementById('more').click()")
    assert len(find(page, "#cast > li")) >= more + 60
    assert page.execute_script("return document.activeElement.tagName") == "SUMMARY"


def test_a_person_opens_to_its_titles_by_keyboard(page: Chrome, tables: CatalogTables) -> None:
    person = tables.people.slice(0, 1).to_pylist()[0]
    members = tables.members.filter(
        pc.equal(tables.members["catalog_id"], person["catalog_id"])
    ).to_pylist()
    card = find(page, f"#person-{person['catalog_id']}")[0]
    page.execute_script("arguments[0].querySelector('summary').focus()", card)
    ActionChains(page).send_keys(Keys.ENTER).perform()
    wait(page, lambda: card.find_elements(By.CSS_SELECTOR, ".in a"))
    links = card.find_elements(By.CSS_SELECTOR, ".in a")
    assert len(links) == len(members)
    longest = max(members, key=lambda row: row["screen_seconds"])
    assert str(links[0].get_attribute("href")).endswith(
        f"/titles/{longest['title_id']}/report.html#{longest['person_id']}"
    )


def test_a_suggestion_leads_to_the_other_person_and_back(page: Chrome) -> None:
    find(page, "#unsure")[0].click()
    first = find(page, "#cast > li")[0]
    name = first.find_element(By.CSS_SELECTOR, "strong").text
    first.find_element(By.CSS_SELECTOR, "summary").click()
    wait(page, lambda: first.find_elements(By.CSS_SELECTOR, ".maybe button"))
    button = first.find_element(By.CSS_SELECTOR, ".maybe button")
    other = button.text.rpartition(",")[0]
    assert "71" in button.text
    button.click()
    wait(page, lambda: find(page, "#cast > li.found"))
    card = find(page, "#cast > li.found")[0]
    assert card.find_element(By.CSS_SELECTOR, "strong").text == other
    wait(page, lambda: card.find_elements(By.CSS_SELECTOR, ".maybe button"))
    backs = card.find_elements(By.CSS_SELECTOR, ".maybe button")
    assert name in {back.text.rpartition(",")[0] for back in backs}


def cells(page: Chrome) -> dict[tuple[str, str], float]:
    """Seconds of the heat map, by what the row and the column are called."""
    found = page.execute_script(
        "const heads = [...document.querySelectorAll('#map thead th')].map((h) => h.title);"
        "return [...document.querySelectorAll('#map td[data-seconds]')].map((cell) => ["
        "cell.parentElement.querySelector('button').title, heads[cell.cellIndex],"
        "Number(cell.dataset.seconds)])"
    )
    return {(row, column): seconds for row, column, seconds in found}


def expected_cells(
    tables: CatalogTables, title_id: str | None, top: int
) -> dict[tuple[str, str], float]:
    """The same from the tables; of a title, or of all titles where none is named."""
    names = {
        row["catalog_id"]: row["name"] or f"Person {number}"
        for number, row in enumerate(tables.people.to_pylist(), start=1)
    }
    titles = dict(
        zip(
            tables.members["title_id"].to_pylist(), tables.members["title"].to_pylist(), strict=True
        )
    )
    rows: dict[str, dict[Any, float]] = {}
    for row in tables.seconds.to_pylist():
        if title_id in (None, row["title_id"]):
            column = f"Episode {row['episode']}" if title_id else titles[row["title_id"]]
            mine = rows.setdefault(row["catalog_id"], {})
            mine[column] = mine.get(column, 0.0) + row["screen_seconds"]
    order = sorted(rows, key=lambda who: -sum(rows[who].values()))[:top]
    return {(names[who], column): rows[who][column] for who in order for column in rows[who]}


def test_the_heat_map_of_a_season_equals_the_tables(page: Chrome, tables: CatalogTables) -> None:
    Select(find(page, "#map-of")[0]).select_by_visible_text("Season 100")
    Select(find(page, "#map-top")[0]).select_by_visible_text("15")
    title_id = f"title-{100:012x}"
    expected = expected_cells(tables, title_id, 15)
    assert cells(page) == pytest.approx(expected)
    assert len(find(page, "#map tbody tr")) == min(15, len({who for who, _ in expected}))
    darkest = page.execute_script(
        "return Number(document.querySelector('#map td[data-heat=\"100\"]').dataset.seconds)"
    )
    assert darkest == pytest.approx(max(expected.values()))


def test_the_heat_map_of_all_titles_equals_the_tables(page: Chrome, tables: CatalogTables) -> None:
    expected = expected_cells(tables, None, 30)
    sums: dict[str, float] = {}
    for (_, title), seconds in expected.items():
        sums[title] = sums.get(title, 0.0) + seconds
    kept = set(sorted(sums, key=lambda title: -sums[title])[:40])
    assert cells(page) == pytest.approx(
        {cell: seconds for cell, seconds in expected.items() if cell[1] in kept}, abs=0.02
    )
    assert "40 of 500 titles" in find(page, "#map-note")[0].text


@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wrong_for_those_who_cannot_see_or_use_a_mouse(
    page: Chrome, dark: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    axe = fetch_axe(tmp_path_factory.mktemp("npm"))
    set_dark(page, dark)
    find(page, "#unsure")[0].click()
    page.execute_script("document.querySelector('#cast summary').click()")
    wait(page, lambda: find(page, "#cast .maybe button"))
    Select(find(page, "#map-of")[0]).select_by_visible_text("Season 100")
    page.set_script_timeout(300)
    try:
        assert violations(page, axe) == []
    finally:
        set_dark(page, False)


@pytest.mark.parametrize("width", [360, 768, 1920])
def test_nothing_sticks_out_at_any_width(page: Chrome, width: int) -> None:
    set_size(page, width, 800)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


def test_without_script_it_says_where_the_people_are(browser: Chrome, address: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(address)
        assert "catalog_people" in find(browser, "main")[0].text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
