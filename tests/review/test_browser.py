"""The page of review in a real browser: mouse, keyboard, two reviewers, and a crowd."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.helpers.browser import (
    fetch_axe,
    logged,
    open_browser,
    set_dark,
    set_size,
    violations,
)
from tests.helpers.catalogs import build_local
from tests.helpers.named_titles import SECOND, join, write_second
from tests.helpers.review_data import crowd_title, small_title, write_title
from tests.helpers.review_server import Served, running_review
from tests.helpers.videos import encode, shot
from vcn_ray.catalog_people import list_decisions
from vcn_ray.io.storage import Storage

pytestmark = pytest.mark.browser

SECONDS = 30  # for what takes milliseconds on a machine that is not busy


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    with open_browser() as driver:
        yield driver


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fetch_axe(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    title = small_title()
    film = folder / "First_Light.mp4"
    encode(film, shot(1, 1200, size=(128, 72)))
    title.videos[0]["uri"] = str(film)
    write_title(Storage.open(str(folder / "out")), title)
    return folder / "out"


@pytest.fixture
def storage(output: Path, tmp_path: Path) -> Storage:
    return Storage.open(str(shutil.copytree(output, tmp_path / "out")))


@pytest.fixture
def served(storage: Storage, browser: Chrome) -> Iterator[Served]:
    with running_review(storage) as served:
        yield served
        browser.get("about:blank")  # it asks no server that ends now


class Page:
    """What a reviewer sees and does."""

    def __init__(self, driver: Chrome, served: Served) -> None:
        self.driver = driver
        driver.get("about:blank")
        driver.get(served.address)
        self.wait(lambda: driver.execute_script("return document.documentElement.dataset.ready"))
        self.wait(lambda: self.all("#faces .tile"))
        self.wait(lambda: self.text("#question"))

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.driver, SECONDS, 0.05).until(lambda _: condition())

    def all(self, query: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, query)

    def one(self, query: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, query)

    def text(self, query: str) -> str:
        script = "return document.querySelector(arguments[0])?.textContent || ''"
        return str(self.driver.execute_script(script, query))

    def says(self, words: str) -> None:
        self.wait(lambda: words in self.text("#said"))

    def keys(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def person(self, person: str) -> WebElement:
        return self.one(f'#people [data-id="{person}"]')

    def name_of(self, person: str) -> str:
        return self.text(f'#people [data-id="{person}"] strong')

    def has(self, person: str) -> bool:
        return bool(self.all(f'#people [data-id="{person}"]'))

    def show(self, person: str) -> None:
        self.person(person).click()
        self.wait(lambda: self.person(person).get_attribute("aria-selected") == "true")

    def focused(self) -> str:
        return str(self.driver.switch_to.active_element.get_attribute("id"))


@pytest.fixture
def page(browser: Chrome, served: Served) -> Iterator[Page]:
    page = Page(browser, served)
    yield page
    assert logged(browser) == []


def test_a_person_is_named_and_keeps_the_name(page: Page, browser: Chrome, served: Served) -> None:
    page.show("p001")
    page.one("#new-name").send_keys('Ada <b>"Lovelace"', Keys.ENTER)
    page.says('Person 1 is Ada <b>"Lovelace"')
    assert page.name_of("p001") == 'Ada <b>"Lovelace"'
    again = Page(browser, served)
    assert again.name_of("p001") == 'Ada <b>"Lovelace"'
    again.wait(lambda: again.all("#known-names option"))
    assert again.one("#known-names option").get_attribute("value") == 'Ada <b>"Lovelace"'


def test_dragging_a_person_onto_another_makes_them_one(page: Page) -> None:
    before = len(page.all("#people .row"))
    source, into = page.person("p004"), page.person("p002")
    chain = ActionChains(page.driver).click_and_hold(source).move_by_offset(3, -9)
    chain.move_to_element(into).perform()
    assert "drop" in str(into.get_attribute("class"))
    ActionChains(page.driver).release().perform()
    page.says("Person 4 is now a part of Person 2")
    page.wait(lambda: not page.has("p004"))
    assert len(page.all("#people .row")) == before - 1
    assert not page.all("#ghost")


def test_escape_ends_a_drag(page: Page) -> None:
    source, into = page.person("p004"), page.person("p002")
    ActionChains(page.driver).click_and_hold(source).move_to_element(into).send_keys(
        Keys.ESCAPE
    ).release().perform()
    assert not page.all("#ghost")
    assert page.has("p004")
    assert not page.one("#undo").is_enabled()


def test_keys_alone_merge_name_lock_and_undo(page: Page) -> None:
    page.driver.execute_script("document.getElementById('people').focus()")
    page.keys(Keys.HOME)
    while page.one("#people .active").get_attribute("data-id") != "p003":
        page.keys(Keys.ARROW_DOWN)
    assert page.text("#who") == "Person 3"
    page.keys("m")
    page.wait(lambda: page.focused() == "choose-filter")
    page.keys("person 1")
    page.wait(lambda: len(page.all("#choose-list .row")) == 1)
    page.keys(Keys.ENTER)
    page.says("Person 3 is now a part of Person 1")
    assert page.text("#who") == "Person 1"
    page.keys("n")
    assert page.focused() == "new-name"
    page.keys("Ann", Keys.ENTER)
    page.says("Person 1 is Ann")
    assert page.focused() == "people"
    page.keys("l")
    page.says("Ann is locked")
    assert "locked" in page.person("p001").text
    page.keys("u")
    page.says("Undone: Ann is locked")
    page.keys("u")
    page.wait(lambda: page.name_of("p001") == "Person 1")
    page.keys("u")
    page.wait(lambda: page.has("p003"))
    assert not page.one("#undo").is_enabled()


def test_picked_tracks_become_a_new_person_by_keys(page: Page) -> None:
    page.show("p001")
    count = len(page.all("#faces .tile"))
    page.keys(Keys.ENTER)
    assert page.focused() == "faces"
    page.keys(Keys.ENTER)
    page.says("Picked; 1 track in all")
    ActionChains(page.driver).key_down(Keys.SHIFT).send_keys(Keys.ARROW_RIGHT).key_up(
        Keys.SHIFT
    ).perform()
    page.says("2 tracks picked")
    page.keys("s")
    page.says("2 tracks moved to a new person: New person")
    page.wait(lambda: len(page.all("#faces .tile")) == count - 2)
    made = [row for row in page.all("#people .row") if str(row.get_attribute("data-id"))[0] == "r"]
    assert len(made) == 1
    assert "2 tracks" in made[0].text


def test_tracks_are_dragged_to_another_person(page: Page) -> None:
    page.show("p001")
    tiles = page.all("#faces .tile")
    before = len(tiles)
    tiles[0].click()
    tiles[1].click()
    into = page.person("p003")
    chain = ActionChains(page.driver).click_and_hold(tiles[1]).move_by_offset(-8, 4)
    chain.move_to_element(into).release().perform()
    page.says("2 tracks moved to Person 3")
    page.wait(lambda: len(page.all("#faces .tile")) == before - 2)


def test_what_is_no_face_leaves_and_comes_back(page: Page) -> None:
    page.show("p002")
    page.all("#faces .tile")[0].click()
    page.one('[data-do="no_face"]').click()
    page.says("1 track marked as no face")
    page.show("#junk")
    page.wait(lambda: len(page.all("#faces .tile")) == 2)
    page.one("#undo").click()
    page.says("Undone")
    page.wait(lambda: len(page.all("#faces .tile")) == 1)


def test_a_track_of_nobody_is_moved_with_the_list_of_people(page: Page) -> None:
    page.show("#nobody")
    page.all("#faces .tile")[0].click()
    page.keys("m")
    page.wait(lambda: page.focused() == "choose-filter")
    assert "A new person" in page.all("#choose-list .row")[0].text
    page.keys("person 2")
    page.keys(Keys.ENTER)
    page.says("1 track moved to Person 2")


def test_questions_are_answered_by_keys(page: Page) -> None:
    page.driver.execute_script("document.getElementById('people').focus()")
    first = page.text("#question")
    page.keys(" ")
    page.says(first)
    page.keys(" ")
    page.wait(lambda: page.text("#question") != first)
    while not page.text("#question").startswith("Who is Person"):
        page.keys(" ")
        time.sleep(0.1)
    asked = page.text("#question")
    page.keys("a")
    page.says("is nobody you know")
    page.wait(lambda: page.text("#question") not in (asked, ""))
    while not page.text("#question").startswith("Who is Person"):
        page.keys(" ")
        time.sleep(0.1)
    page.keys("y")
    assert page.focused() == "new-name"


def test_two_people_of_one_name_are_offered_as_one(page: Page) -> None:
    for person in ("p001", "p004"):
        page.show(person)
        page.one("#new-name").clear()
        page.one("#new-name").send_keys("Ann", Keys.ENTER)
        page.wait(lambda who=person: page.name_of(who) == "Ann")  # type: ignore[misc]
    page.says("Two people are called Ann")
    assert "Are they one?" in page.text("#question")
    page.keys("y")
    page.wait(lambda: not page.has("p004"))


def known_page(browser: Chrome, served: Served, storage: Storage) -> Page:
    write_second(storage)
    join(storage, "a-title-0123456789ab", "p002", SECOND, "p002")
    build_local(storage)
    return Page(browser, served)


def test_a_name_of_another_title_is_confirmed_by_a_key(
    browser: Chrome, served: Served, storage: Storage
) -> None:
    page = known_page(browser, served, storage)
    assert "in the catalog: Grace" in page.person("p002").text
    assert page.text("#question") == "Is Person 2 Grace (from Second)?"
    faces = "return [...document.querySelectorAll('#ask-body img')].map((i) => i.naturalWidth)"
    page.wait(lambda: len(page.driver.execute_script(faces)) == 4)  # three, and that of Second
    page.wait(lambda: all(page.driver.execute_script(faces)))
    page.show("p002")
    assert "in the catalog: Grace" in page.text("#facts")
    page.keys("y")
    page.says("Person 2 is Grace")
    assert page.name_of("p002") == "Grace"
    page.wait(lambda: "Grace" not in page.text("#question"))
    page.says(page.text("#question"))
    page.says("Person 2 is Grace. ")  # what was done stays beside the question that follows
    assert "in the catalog" not in page.person("p002").text
    assert logged(browser) == []


def test_a_name_of_another_title_is_denied(
    browser: Chrome, served: Served, storage: Storage
) -> None:
    page = known_page(browser, served, storage)
    page.one("#no").click()
    page.says("Person 2 is not Grace")
    page.wait(lambda: "Grace" not in page.text("#question"))
    assert page.name_of("p002") == "Person 2"
    assert "in the catalog" not in page.person("p002").text
    assert list_decisions(storage.uri)[-1].kind == "apart"
    page.keys("u")
    page.says("Undone: Person 2 is not Grace")
    page.wait(lambda: page.text("#question") == "Is Person 2 Grace (from Second)?")
    assert [each.kind for each in list_decisions(storage.uri)] == ["join"]
    assert logged(browser) == []


def test_names_of_other_titles_are_offered(
    browser: Chrome, served: Served, storage: Storage
) -> None:
    other = write_title(storage, small_title(), "Another", title_id="another-1")
    served.decide(other, do="name", who="p001", name="Grace")
    page = Page(browser, served)
    page.wait(lambda: page.all("#known-names option"))
    assert page.one("#known-names option").get_attribute("value") == "Grace"
    page.keys("t")
    page.wait(lambda: "5 unnamed" in page.text("#choose-list"))
    page.keys("first", Keys.ENTER)
    page.wait(lambda: page.text("#name") == "First Light")


def test_two_reviewers_at_once_see_each_other(page: Page, storage: Storage) -> None:
    with running_review(storage, "bob") as other, open_browser() as second:
        his = Page(second, other)
        page.show("p001")
        page.one("#new-name").send_keys("Ann", Keys.ENTER)
        his.wait(lambda: his.name_of("p001") == "Ann")
        his.says("ann: Ann is called Ann")
        his.show("p002")
        his.one("#new-name").send_keys("Ben", Keys.ENTER)
        page.wait(lambda: page.name_of("p002") == "Ben")
        assert page.name_of("p001") == "Ann"
        assert logged(second) == []


def test_history_undoes_any_decision(page: Page) -> None:
    page.show("p001")
    page.one("#new-name").send_keys("Ann", Keys.ENTER)
    page.wait(lambda: page.name_of("p001") == "Ann")
    page.show("p002")
    page.one("#new-name").send_keys("Ben", Keys.ENTER)
    page.wait(lambda: page.name_of("p002") == "Ben")
    page.one("#history-open").click()
    page.wait(lambda: len(page.all("#history-list li")) == 2)
    page.all("#history-list button")[1].click()
    page.wait(lambda: page.all("#history-list li.gone"))
    assert page.name_of("p001") == "Person 1"
    page.one("#history-list li.gone button").click()
    page.wait(lambda: not page.all("#history-list li.gone"))
    assert page.name_of("p001") == "Ann"


def test_an_appearance_is_played(page: Page) -> None:
    page.show("p001")
    page.keys(Keys.ENTER, "p")
    video = "const v = document.getElementById('video'); return v.videoWidth"
    page.wait(lambda: page.driver.execute_script(video) == 128)
    assert page.text("#player-says") == ""
    page.keys(Keys.ESCAPE)
    page.wait(lambda: not page.one("#player").is_displayed())


def test_errors_are_shown_in_the_page(page: Page, served: Served) -> None:
    title = "a-title-0123456789ab"
    for person, name in (("p001", "Ann"), ("p002", "Ben")):
        served.decide(title, do="name", who=person, name=name)
        served.decide(title, do="lock", who=person)
    page.wait(lambda: "locked" in page.person("p002").text)
    page.show("p002")
    page.keys("m", "ann", Keys.ENTER)
    page.wait(lambda: page.one("#error").is_displayed())
    assert "both locked" in page.text("#error")
    page.keys("l")
    page.wait(lambda: not page.one("#error").is_displayed())
    assert [line["message"].split(" - ")[1] for line in logged(page.driver)] == [
        "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    ]


def test_letters_are_no_keys_if_one_says_so(page: Page) -> None:
    page.one("#keys-open").click()
    page.one("#single-keys").click()
    page.keys(Keys.ESCAPE)
    page.show("p001")
    page.keys("n")
    assert page.focused() == "people"
    page.one("#keys-open").click()
    page.one("#single-keys").click()
    page.keys(Keys.ESCAPE)
    page.one("#people").click()
    page.keys("/")
    assert page.focused() == "filter"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 640, 360])
def test_nothing_is_wrong_for_screen_readers(page: Page, axe: str, dark: bool, width: int) -> None:
    set_dark(page.driver, dark)
    set_size(page.driver, width, 800)
    try:
        page.show("p001")
        page.all("#faces .tile")[0].click()
        assert violations(page.driver, axe) == []
        scrolled = "return document.documentElement.scrollWidth"
        assert page.driver.execute_script(scrolled) <= width
        for key, dialog in (("?", "#keys"), ("h", "#history"), ("m", "#choose")):
            page.keys(key)
            page.wait(lambda which=dialog: page.one(which).is_displayed())  # type: ignore[misc]
            assert violations(page.driver, axe) == []
            page.keys(Keys.ESCAPE)
            page.wait(lambda which=dialog: not page.one(which).is_displayed())  # type: ignore[misc]
    finally:
        set_dark(page.driver, False)
        set_size(page.driver, 1280, 800)


def test_everything_can_be_reached_by_tab(page: Page) -> None:
    page.driver.execute_script("document.activeElement.blur()")
    reached = []
    for _ in range(40):
        page.keys(Keys.TAB)
        reached.append(page.focused())
    for wanted in ("history-open", "filter", "sort", "people", "new-name", "faces", "yes", "no"):
        assert wanted in reached


def test_a_crowd_is_scrolled_and_merged(browser: Chrome, tmp_path: Path) -> None:
    storage = Storage.open(str(tmp_path / "crowd"))
    title = write_title(storage, crowd_title())
    with running_review(storage) as served:
        page = Page(browser, served)
        people = served.get(f"api/titles/{title}").json["state"]["people"]
        assert len(people) == 300
        assert len(page.all("#people .row")) < 40  # only what is seen is in the page
        page.show("p001")
        page.driver.execute_script("document.getElementById('faces').focus()")
        page.keys(Keys.END)
        last = str(people[0]["tracks"])
        page.wait(lambda: page.one("#faces .active").get_attribute("aria-posinset") == last)
        loaded = "return [...document.querySelectorAll('#faces img')].every((i) => i.naturalWidth)"
        page.wait(lambda: page.driver.execute_script(loaded))
        assert len(page.all("#faces .tile")) < 120
        page.driver.execute_script("document.getElementById('people').focus()")
        page.keys(Keys.END)
        page.wait(lambda: page.text("#who") == "Person 300")
        page.keys("m", "person 2", Keys.ENTER)
        page.says("Person 300 is now a part of Person 2")
        assert logged(browser) == []
