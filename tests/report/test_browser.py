"""The page in a real browser: it opens without errors and reacts to clicks and keys."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.helpers.report_data import CUTOUT, Title
from vcn_ray.report.pages import MAX_CARDS, render_title
from vcn_ray.report.view import build_view

pytestmark = pytest.mark.browser


def _program(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        message = f"no {names[0]} here: on Debian, apt-get install chromium chromium-driver"
        if os.environ.get("VCN_REQUIRE_BROWSER") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return found


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the browser stores what it downloads."""
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads: Path) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = _program("chromium", "chromium-browser", "google-chrome")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--force-prefers-reduced-motion")  # clicks must not race smooth scrolling
    options.add_argument("--window-size=1280,1000")
    options.add_experimental_option(
        "prefs",
        {"download.default_directory": str(downloads), "download.prompt_for_download": False},
    )
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(_program("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(short_page: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(short_page, encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Chrome, address: str) -> Iterator[Chrome]:
    browser.get(address)
    yield browser
    assert logged(browser) == []


def logged(browser: Chrome) -> list[object]:
    """What the page wrote to the browser's console: errors and warnings."""
    lines: list[object] = browser.get_log("browser")  # type: ignore[no-untyped-call]  # selenium's
    return lines


def find(page: Chrome, query: str) -> list[WebElement]:
    return page.find_elements(By.CSS_SELECTOR, query)


def wait(page: Chrome, condition: Callable[[WebDriver], object]) -> None:
    WebDriverWait(page, 10).until(condition)


def test_every_picture_is_drawn(page: Chrome) -> None:
    """Each cover is part of the page itself, so the content policy does not block it."""
    missing = page.execute_async_script(
        """
        const done = arguments[0];
        const urls = [...document.querySelectorAll(".face.large")]
          .map((face) => getComputedStyle(face).backgroundImage.slice(5, -2));
        Promise.all(urls.map((url) => new Promise((result) => {
          const image = new Image();
          image.onload = () => result(image.naturalWidth);
          image.onerror = () => result(0);
          image.src = url;
        }))).then(done);
        """
    )
    assert missing == [CUTOUT[0]] * 8


def test_click_on_a_person_opens_the_panel_with_its_merges(page: Chrome) -> None:
    panel = find(page, "#p001-more")[0]
    assert not find(page, "#p001-more .merges li")[0].is_displayed()
    find(page, "#p001 a.cover")[0].click()
    wait(page, lambda _: panel.get_attribute("open"))
    merges = find(page, "#p001-more .merges li")
    assert len(merges) == 9
    assert merges[0].is_displayed()
    assert "Distance" in merges[0].text
    assert "limit" in merges[0].text
    assert len(find(page, "#p001-more .tracks > li")) == 10
    assert find(page, "#p001 a.cover")[0].get_attribute("aria-expanded") == "true"
    find(page, "#p001-more .company a")[0].click()
    wait(page, lambda d: d.execute_script("return location.hash").startswith("#p00"))


def test_keyboard_alone_opens_the_panel(page: Chrome) -> None:
    cover = find(page, "#p002 a.cover")[0]
    page.execute_script("arguments[0].focus()", cover)
    ActionChains(page).send_keys(Keys.SPACE).perform()
    wait(page, lambda _: find(page, "#p002-more")[0].get_attribute("open"))


def test_zoom_widens_the_axis_and_draws_its_labels_again(page: Chrome) -> None:
    def width() -> int:
        return int(page.execute_script("return document.getElementById('axis').clientWidth"))

    def labels() -> list[str]:
        return [tick.text for tick in find(page, "#ticks .tick")]

    level, zoom_in = find(page, "#zoom-level")[0], find(page, '[data-zoom="in"]')[0]
    whole, before = width(), labels()
    assert level.text == "Zoom 1 ×"  # noqa: RUF001 - the multiplication sign is on the page
    assert not find(page, '[data-zoom="out"]')[0].is_enabled()
    zoom_in.click()
    zoom_in.click()
    assert level.text == "Zoom 4 ×"  # noqa: RUF001 - the multiplication sign is on the page
    assert width() == pytest.approx(4 * whole, rel=0.02)
    wait(page, lambda _: len(labels()) > len(before))
    frame = find(page, "#timeline")[0]
    page.execute_script("arguments[0].focus()", frame)
    ActionChains(page).send_keys("-").perform()
    assert width() == pytest.approx(2 * whole, rel=0.02)
    find(page, '[data-zoom="fit"]')[0].click()
    assert width() == whole


def test_hover_and_arrow_keys_show_time_and_face(page: Chrome) -> None:
    tip = find(page, "#tip")[0]
    bars = find(page, '.timeline .lane[data-person="p001"] .bar')
    ActionChains(page).move_to_element(bars[2]).perform()
    wait(page, lambda _: tip.is_displayed())
    assert find(page, "#tip strong")[0].text == "Person 1"
    assert find(page, "#tip small")[0].text == bars[2].get_attribute("aria-label")
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    assert not tip.is_displayed()
    page.execute_script("arguments[0].focus()", bars[0])
    ActionChains(page).send_keys(Keys.ARROW_RIGHT).perform()
    assert page.switch_to.active_element == bars[1]
    assert find(page, "#tip small")[0].text == bars[1].get_attribute("aria-label")
    picture = find(page, "#tip .face")[0]
    assert "data:image/jpeg" in picture.value_of_css_property("background-image")


def test_a_typed_name_is_shown_kept_and_exported(
    page: Chrome, address: str, downloads: Path
) -> None:
    name = 'Ada <b>"Lovelace"'
    find(page, '[data-input="p001"]')[0].send_keys(name)
    assert find(page, '.timeline [data-name="p001"]')[0].text == name
    page.get(address)
    assert find(page, '[data-input="p001"]')[0].get_attribute("value") == name
    assert find(page, '.timeline [data-name="p001"]')[0].text == name
    find(page, "#export")[0].click()
    written = downloads / "a-title-0123456789ab.result-0123456789ab-names.json"
    wait(page, lambda _: written.exists())
    names = json.loads(written.read_text(encoding="utf-8"))
    assert names["p001"] == name
    assert names["p002"] is None
    assert len(names) == 8
    find(page, '[data-input="p001"]')[0].clear()
    assert find(page, '.timeline [data-name="p001"]')[0].text == "Person 1"


def test_a_link_to_a_folded_person_unfolds_the_list(browser: Chrome, tmp_path: Path) -> None:
    title = Title(looks=2)
    for shot in title.add_video("Crowd", [2.0] * (MAX_CARDS + 5)):
        title.add_track(shot, len(title.tracks), (0.0, 0.2), crops=1)
    path = tmp_path / "crowd.html"
    path.write_text(render_title(build_view(title.stored())), encoding="utf-8")
    browser.get(path.as_uri())
    last = f"p0{MAX_CARDS + 5}"
    card = find(browser, f"#{last} h3, #{last} input")[1]
    assert not card.is_displayed()
    find(browser, f'.timeline a.who[href="#{last}"]')[0].click()
    wait(browser, lambda _: card.is_displayed())
    assert logged(browser) == []
    browser.get(f"{path.as_uri()}#{last}")
    wait(browser, lambda _: find(browser, f"#{last} input")[0].is_displayed())


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
def test_nothing_sticks_out_at_any_width(page: Chrome, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for panel in find(page, "details"):
            page.execute_script("arguments[0].open = true", panel)
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_without_script_the_page_still_shows_everything(browser: Chrome, address: str) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(address)
        assert find(browser, "#p001 h3")[0].is_displayed()
        assert not find(browser, "#export")[0].is_displayed()
        find(browser, "#p001-more summary")[0].click()
        assert find(browser, "#p001-more .merges li")[0].is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_several_videos_open_without_errors(
    browser: Chrome, series_page: str, tmp_path: Path
) -> None:
    path = tmp_path / "series.html"
    path.write_text(series_page, encoding="utf-8")
    browser.get(path.as_uri())
    assert [e.text for e in find(browser, ".axis .video")] == [
        f"Series_S01E0{number}.mp4" for number in (1, 2, 3)
    ]
    assert logged(browser) == []
