"""What the page says is what the tables say."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers.report_data import REJECTED, Title, long_film, series, short_film
from vcn_ray.errors import ShapeError
from vcn_ray.report import choose, face_images
from vcn_ray.report.view import TitleTables, TitleView, build_view


@pytest.fixture(scope="module")
def short() -> tuple[Title, TitleTables, TitleView]:
    title = short_film()
    tables = title.tables()
    return title, tables, build_view(title.result("First Light"), tables, REJECTED)


def test_people_come_by_time_on_screen(short: tuple[Title, TitleTables, TitleView]) -> None:
    _, tables, view = short
    assert [p.person_id for p in view.people] == tables.people["person_id"].to_pylist()
    assert sum(p.tracks for p in view.people) + view.unknown.tracks == 45
    shares = [p.share for p in view.people]
    assert shares == sorted(shares, reverse=True)
    seconds = tables.people["screen_seconds"][0].as_py()
    assert shares[0] == pytest.approx(100 * seconds / view.timeline.seconds)


def test_cover_is_the_one_of_the_table(short: tuple[Title, TitleTables, TitleView]) -> None:
    _, tables, view = short
    for person, row in zip(view.people, tables.people.to_pylist(), strict=True):
        mask = np.equal(tables.crops["track_id"].to_pylist(), row["cover_track_id"]) & np.equal(
            tables.crops["frame"].to_pylist(), row["cover_crop"]
        )
        image = tables.crops.filter(pa.array(mask))["image"][0].as_py()
        album = face_images.Album(tables.crops, face_images.read_crops(tables.crops))
        crop = next(
            c
            for c in album.by_track[row["cover_track_id"]]
            if c.key == (row["cover_track_id"], row["cover_crop"])
        )
        album.add([crop])
        assert person.cover is not None
        assert view.images[person.cover] == album.images[0]
        assert tables.crops["image"][crop.row].as_py() == image


def test_card_faces_come_from_different_shots() -> None:
    title = Title()
    shots = title.add_video("Film", [2.0] * 12)
    for shot in shots:
        title.add_track(shot, 0, (0.1, 0.9), crops=3)
    tables = title.tables()
    crops = face_images.read_crops(tables.crops)
    tracks = tables.tracks.to_pylist()
    chosen = choose.choose(tables.people.to_pylist()[0], tracks, [], crops)
    assert len(chosen.faces) == choose.CARD_FACES
    assert len({crop.key[0] for crop in chosen.faces}) == choose.CARD_FACES
    quality = {row["track_id"]: row["quality"] for row in tracks}
    ranks = [quality[crop.key[0]] for crop in chosen.faces]
    assert ranks == sorted(ranks, reverse=True)
    # Spread over time: every sixth of the film has one.
    assert {int(crop.seconds // 4) for crop in chosen.faces} == set(range(6))


def test_one_shot_fills_the_card_with_other_moments() -> None:
    title = Title()
    shot = title.add_video("Film", [8.0])[0]
    title.add_track(shot, 0, (0.0, 1.0), crops=20)
    tables = title.tables()
    crops = face_images.read_crops(tables.crops)
    chosen = choose.choose(tables.people.to_pylist()[0], tables.tracks.to_pylist(), [], crops)
    keys = [crop.key for crop in chosen.faces]
    assert len(set(keys)) == choose.CARD_FACES
    assert chosen.cover is not None
    assert chosen.cover.key not in keys


def test_missing_cover_crop_falls_back_to_a_picture() -> None:
    title = series(1)
    tables = title.tables()
    column = pa.array([999_999] * tables.people.num_rows, pa.int64())
    place = tables.people.schema.get_field_index("cover_crop")
    people = tables.people.set_column(place, tables.people.schema.field(place), column)
    view = build_view(title.result("x"), tables._replace(people=people), {})
    assert all(person.cover is not None for person in view.people)


def test_pictures_stop_at_the_budget_covers_first() -> None:
    title = short_film()
    tables = title.tables()
    crops = face_images.read_crops(tables.crops)
    album = face_images.Album(tables.crops, crops, budget_bytes=80_000)
    rows = sorted(tables.tracks.to_pylist(), key=lambda row: row["start_frame"])
    choices = [
        choose.choose(person, [r for r in rows if r["person_id"] == person["person_id"]], [], crops)
        for person in tables.people.to_pylist()
    ]
    choose.fill(album, choices, choose.best_unknown(rows))
    assert sum(map(len, album.images)) <= 80_000
    assert all(album.number(choice.cover) is not None for choice in choices)
    assert album.left_out > 0
    assert album.left_out + len(album.images) == 264


def test_merges_say_why(short: tuple[Title, TitleTables, TitleView]) -> None:
    _, _, view = short
    person = view.people[0]
    assert person.merges_listed == person.tracks - 1
    first = person.merges[0].merges[0]
    assert first.left.text.startswith("the track at ")
    assert "the larger of" in first.limit
    assert [group.name for group in person.merges] == ["Round 1", "Round 2"]
    assert all(0 < m.fill <= 100 for g in person.merges for m in g.merges if m.fill is not None)


def test_merge_that_a_later_step_took_back_is_not_told() -> None:
    title = series(1)
    tables = title.tables()
    apart = tables.tracks.to_pylist()
    other = {row["person_id"]: row["track_id"] for row in apart}
    row = tables.merges.to_pylist()[0] | {
        "left_track_id": other["p001"],
        "right_track_id": other["p002"],
        "step": 99,
    }
    merges = pa.concat_tables([tables.merges, pa.Table.from_pylist([row], tables.merges.schema)])
    view = build_view(title.result("x"), tables._replace(merges=merges), {})
    assert sum(p.merges_listed for p in view.people) == tables.merges.num_rows


@pytest.mark.parametrize("limits", [(float("nan"), 4.0), (float("inf"), float("inf")), (1.0, 2.0)])
def test_odd_limits_are_survived(limits: tuple[float, float]) -> None:
    title = series(1)
    tables = title.tables()
    rows = tables.merges.to_pylist()
    rows[0] |= {"left_threshold": limits[0], "right_threshold": limits[1], "distance": 3.0}
    merges = pa.Table.from_pylist(rows, tables.merges.schema)
    view = build_view(title.result("x"), tables._replace(merges=merges), {})
    changed = next(m for p in view.people for g in p.merges for m in g.merges if m.distance == "3")
    expected = {"4": 75.0, "none": None, "2, the larger of 1 and 2": None}
    assert changed.fill == expected[changed.limit]


def test_company_counts_shots_together() -> None:
    title = Title()
    shots = title.add_video("Film", [4.0, 4.0, 4.0])
    for shot, people in zip(shots, [(0, 1), (0, 1), (0, 2)], strict=True):
        for person in people:
            title.add_track(shot, person, (0.1, 0.9 - 0.1 * person), crops=2)
    view = build_view(title.result("x"), title.tables(), {})
    assert [(o.person_id, o.text) for o in view.people[0].shared] == [
        ("p002", "2 shots together"),
        ("p003", "1 shot together"),
    ]
    assert [o.person_id for o in view.people[2].shared] == ["p001"]


def test_names_belong_to_one_grouping() -> None:
    title = series(1)
    first = build_view(title.result("x"), title.tables(), {}).names_key
    assert build_view(title.result("x"), title.tables(), {}).names_key == first
    title.tracks[0]["person"] = 4 if title.tracks[0]["person"] != 4 else 3
    assert build_view(title.result("x"), title.tables(), {}).names_key != first


def test_long_film_lists_the_longest_tracks() -> None:
    view = build_view((title := long_film(3600, 3, 260)).result("x"), title.tables(), {})
    person = view.people[0]
    assert len(person.listed) == choose.TRACKS_LISTED
    assert person.tracks_left_out == person.tracks - choose.TRACKS_LISTED
    assert view.left_out
    # Every bar and every merge has a face, listed or not.
    assert all(bar.track_id in view.bar_images for p in view.people for bar in p.bars)
    sides = [m for p in view.people for g in p.merges for m in g.merges]
    assert all(m.left.image is not None and m.right.image is not None for m in sides)


def test_tracks_of_a_strange_video_or_person_are_refused() -> None:
    title = series(1)
    tables = title.tables()
    result = title.result("x")
    with pytest.raises(ShapeError, match="tracks need a video of the result"):
        build_view({**result, "videos": []}, tables, {})
    with pytest.raises(ShapeError, match="p001"):
        build_view(result, tables._replace(people=tables.people.slice(1)), {})
