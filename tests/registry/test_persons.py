"""Whom a text names: ids of the catalog, people of titles, and names."""

from __future__ import annotations

from pathlib import Path

import pytest

import vcn_ray
from tests.helpers.catalogs import (
    CASTS,
    SECOND,
    build_local,
    catalog_groups,
    seen_by,
    write_catalog,
)
from tests.helpers.corrections import write_title
from vcn_ray.catalog_people import decide_pair
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage
from vcn_ray.registry.persons import PersonOfTitle, find_person
from vcn_ray.registry.stored import read_registry
from vcn_ray.review.desk import Desk

LEAD = {PersonOfTitle("a-0", "p001"), PersonOfTitle("d-0", "p001")}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    storage = Storage.open(str(tmp_path / "out"))
    write_catalog(storage)
    return storage


def name(storage: Storage, title: str, person: str, text: str) -> None:
    desk = Desk(storage, title, "me")
    desk.name(person, text)
    desk.commit()


def catalog_id(storage: Storage, title: str, person: str) -> str:
    return next(
        str(row["catalog_id"])
        for row in read_registry(storage).members.to_pylist()
        if (row["title_id"], row["person_id"]) == (title, person)
    )


def test_an_id_and_a_name_of_the_catalog_are_all_members(storage: Storage) -> None:
    name(storage, "d-0", "p001", "Ann: the first")
    build_local(storage)
    who = catalog_id(storage, "a-0", "p001")
    for text in (who, "Ann: the first", " ann:  THE first"):
        found = find_person(text, storage)
        assert (set(found.members), found.catalog_id) == (LEAD, who)


def test_a_name_within_a_title_is_that_person_alone(storage: Storage) -> None:
    name(storage, "b-0", "p002", "Ann")
    name(storage, "b-0", "p003", "ann")
    assert find_person("Film a:p003", storage).members == (PersonOfTitle("a-0", "p003"),)
    with pytest.raises(UsageError, match="Film a has no person 'Ann', only p001, p002, p003"):
        find_person("Film a:Ann", storage)
    with pytest.raises(UsageError, match=r"2 people of Film b are called 'Ann'.*p002, p003"):
        find_person("Film b:Ann", storage)
    name(storage, "b-0", "p003", "Beth")
    assert find_person("Film b:beth", storage).members == (PersonOfTitle("b-0", "p003"),)


def test_several_people_of_one_name_are_listed(storage: Storage) -> None:
    for person in ("p001", "p003"):  # of one title, so they are two
        name(storage, "a-0", person, "Ann")
    build_local(storage)
    with pytest.raises(UsageError) as caught:
        find_person("Ann", storage)
    said = str(caught.value)
    assert said.startswith("2 people are called 'Ann': name one by its id, c-")
    for person in ("p001", "p003"):
        assert catalog_id(storage, "a-0", person) in said
    assert "\n" not in said


def test_nobody_is_said(storage: Storage) -> None:
    with pytest.raises(UsageError, match=r"'Ann' names no person.*vcn registry build"):
        find_person("Ann", storage)
    build_local(storage)
    with pytest.raises(UsageError, match=r"nobody in the registry of .* is called 'Ann'"):
        find_person("Ann", storage)
    with pytest.raises(UsageError, match="has no person 'c-0123456789ab'"):
        find_person("c-0123456789ab", storage)
    with pytest.raises(UsageError, match="and 0 called 'Nowhere'"):
        find_person("Nowhere:p001", storage)


def test_a_search_takes_an_id_and_a_name(storage: Storage) -> None:
    name(storage, "a-0", "p001", "Ann")
    build_local(storage)
    who = catalog_id(storage, "d-0", "p001")
    for text in (who, "ann", "Film d:p001", "a-0:Ann"):
        (found,) = vcn_ray.search(storage.uri, text, limit=1)
        assert found.catalog_id == who
        assert {title.reference for title in found.titles} == {"Film a:p001", "Film d:p001"}


def test_decisions_take_ids_and_names(storage: Storage) -> None:
    name(storage, "a-0", "p001", "Ann")
    build_local(storage)
    ann, other = catalog_id(storage, "a-0", "p001"), catalog_id(storage, "c-0", "p002")
    done = decide_pair(storage.uri, "join", "Ann", other, who="me")
    assert done.left in LEAD
    assert done.right in {("c-0", "p002"), ("b-0", "p003")}
    assert done.remarks == ()
    build_local(storage)
    assert ["a:p001", "b:p003", "c:p002", "d:p001"] in catalog_groups(storage)
    vcn_ray.undo_decision(storage.uri, done.decision, who="me")
    build_local(storage)
    assert catalog_id(storage, "a-0", "p001") == ann
    with pytest.raises(UsageError, match="are one person of the catalog"):
        vcn_ray.decide(storage.uri, "join", "Ann", ann, who="me")
    vcn_ray.decide(storage.uri, "apart", ann, "Film d:p001", who="me")
    build_local(storage)
    assert ["a:p001", "d:p001"] not in catalog_groups(storage)


def test_two_people_who_share_a_title_are_no_one_person(storage: Storage) -> None:
    build_local(storage)
    one, other = (catalog_id(storage, "a-0", person) for person in ("p001", "p002"))
    with pytest.raises(UsageError, match="are both in a-0, as p001 and p002"):
        vcn_ray.decide(storage.uri, "join", one, other, who="me")


def test_an_id_of_a_title_that_has_changed_marks_nobody(storage: Storage) -> None:
    build_local(storage)
    who = catalog_id(storage, "a-0", "p001")
    cast = CASTS["a"][::-1]  # p001 is somebody else
    write_title(storage, seen_by("a", cast, "n"), SECOND, "Film a", "a-0")
    with pytest.raises(UsageError, match="has changed since the registry was built"):
        vcn_ray.decide(storage.uri, "apart", who, "Film b:p001", who="me")
    titles = {each.title: each for each in vcn_ray.search(storage.uri, who, limit=1)[0].titles}
    assert titles["Film a"].missing == "changed"
    assert titles["Film d"].spans is not None


def test_a_title_name_that_two_have_is_written_as_its_id(storage: Storage) -> None:
    write_title(storage, seen_by("e", (9,)), title="Film a", title_id="e-0")
    build_local(storage)
    labels = vcn_ray.open_registry(storage.uri).labels
    assert (labels["a-0"], labels["e-0"], labels["b-0"]) == ("a-0", "e-0", "Film b")


def test_joining_two_names_says_which_one_stays(storage: Storage) -> None:
    name(storage, "a-0", "p001", "Ann")
    name(storage, "c-0", "p002", "Beth")
    build_local(storage)
    done = decide_pair(storage.uri, "join", "Ann", "Beth", who="me")
    (said,) = done.remarks
    assert said.startswith("Ann and Beth are two names: the person is then called ")
    build_local(storage)
    people = {row["catalog_id"]: row["name"] for row in read_registry(storage).people.to_pylist()}
    called = people[catalog_id(storage, "a-0", "p001")]
    assert called == people[catalog_id(storage, "c-0", "p002")]
    assert f"called {called}, as in" in said


def test_names_that_differ_by_case_are_one(storage: Storage) -> None:
    name(storage, "a-0", "p001", "Ann")
    name(storage, "c-0", "p003", "ANN")
    assert decide_pair(storage.uri, "join", "a-0:p001", "c-0:p003", who="me").remarks == ()


def test_people_who_were_not_compared_have_no_cosine(storage: Storage) -> None:
    write_title(storage, seen_by("e", (9,)), title="Film e", title_id="e-0")
    storage.delete("titles/e-0/adapt-000001/manifest.json")  # no embedding is kept
    name(storage, "e-0", "p001", "Ann")
    name(storage, "a-0", "p001", "Ann")
    build_local(storage)
    links = [
        row
        for row in read_registry(storage).links.to_pylist()
        if "e-0" in (row["left_title_id"], row["right_title_id"])
    ]
    assert [(row["answer"], row["why"], row["cosine"]) for row in links] == [
        ("joined", "name", None)
    ]
