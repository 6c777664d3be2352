"""The content of a page agrees with the tables."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tests.helpers.report_data import Title, long_film, series
from vcn_ray.errors import ShapeError
from vcn_ray.report import selection
from vcn_ray.report.view import TitleView, build_view
from vcn_ray.run.stored import StoredTitle
from vcn_ray.schema import CROPS


def test_people_are_sorted_by_time_on_screen(short: StoredTitle, short_view: TitleView) -> None:
    people = short_view.people
    assert [p.person_id for p in people] == short.people["person_id"].to_pylist()
    assert sum(p.tracks for p in people) + short_view.unknown.tracks == 45
    percents = [p.screen_percent for p in people]
    assert percents == sorted(percents, reverse=True)
    seconds = short.people["screen_seconds"][0].as_py()
    assert percents[0] == pytest.approx(100 * seconds / short_view.timeline.seconds)


def test_cover_is_the_one_of_the_table(short: StoredTitle, short_view: TitleView) -> None:
    for person, row in zip(short_view.people, short.people.to_pylist(), strict=True):
        mask = np.equal(short.crops["track_id"].to_pylist(), row["cover_track_id"]) & np.equal(
            short.crops["frame"].to_pylist(), row["cover_crop"]
        )
        image = short.crops.filter(pa.array(mask))["face"][0].as_py()
        assert person.cover is not None
        assert base64.b64decode(short_view.images[person.cover]) == image


def test_people_are_shown_as_cut_outs_and_never_as_the_encoder_s_crops(
    short: StoredTitle, short_view: TitleView
) -> None:
    cutouts = {data for data in short.crops["face"].to_pylist() if data}
    assert {base64.b64decode(image) for image in short_view.images} == cutouts


def test_without_any_cut_out_the_aligned_crops_are_shown() -> None:
    title = Title(cutouts=False)
    shot = title.add_video("Film", [8.0])[0]
    title.add_track(shot, 0, (0.0, 1.0), crops=3)
    stored = title.stored()
    older = stored.crops.drop_columns(["face", "frontality"])
    for crops in (
        stored.crops,
        pa.concat_tables([CROPS.empty_table(), older], promote_options="default"),
    ):
        view = build_view(replace(stored, crops=crops))
        aligned = {data for data in stored.crops["image"].to_pylist() if data}
        assert {base64.b64decode(image) for image in view.images} == aligned
        assert view.people[0].cover is not None


def test_the_best_face_of_a_track_is_first() -> None:
    title = Title()
    shot = title.add_video("Film", [8.0])[0]
    title.add_track(shot, 0, (0.0, 1.0), crops=9)
    stored = title.stored()
    crops = selection.read_crops(stored.crops)
    album = selection.Album(stored.crops, crops)
    values = [crop.value for crop in selection.strip(album, stored.tracks["track_id"][0].as_py())]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)


def test_tracks_of_nobody_are_two_lists_with_their_shares() -> None:
    title = Title()
    shot = title.add_video("Film", [10.0])[0]
    title.add_track(shot, 0, (0.0, 0.6))
    title.add_track(shot, None, (0.0, 0.2), reason="unrecognisable")
    title.add_track(shot, None, (0.6, 0.7), reason="ambiguous")
    title.add_track(shot, None, (0.8, 0.9), reason="low_score")
    view = build_view(title.stored())
    assert view.summary.shares == (
        "Of the screen time of all face tracks, 60\u2009% belongs to people, 30\u2009% to unknown "
        "faces, and 10\u2009% shows no face."
    )
    unknown, no_face = view.unknown, view.no_face
    assert (unknown.tracks, unknown.share, unknown.seconds) == (2, "30\u2009%", "3.0 s")
    assert (no_face.tracks, no_face.share, no_face.seconds) == (1, "10\u2009%", "1.0 s")
    assert sorted(number for _, number in unknown.reasons) == [1, 1]
    assert [len(part) for part in (view.timeline.unknown, view.timeline.no_face)] == [2, 1]
    assert view.summary.screen == "7 s"  # what shows no face is no time with a face


def test_no_track_of_nobody_is_left_out() -> None:
    title = Title(looks=2)
    shots = title.add_video("Film", [2.0] * 100)
    for shot in shots:
        title.add_track(shot, None, (0.1, 0.3), crops=1)
    view = build_view(title.stored())
    assert len(view.unknown.listed) == selection.MAX_OUTSIDE_LISTED
    assert len(view.unknown.listed) + len(view.unknown.folded) == view.unknown.tracks == 100
    assert view.left_out == []


def test_card_faces_come_from_different_shots() -> None:
    title = Title()
    shots = title.add_video("Film", [2.0] * 12)
    for shot in shots:
        title.add_track(shot, 0, (0.1, 0.9), crops=3)
    stored = title.stored()
    crops = selection.read_crops(stored.crops)
    tracks = stored.tracks.to_pylist()
    chosen = selection.choose(stored.people.to_pylist()[0], tracks, [], crops)
    assert len(chosen.faces) == selection.CARD_FACES
    assert len({crop.key[0] for crop in chosen.faces}) == selection.CARD_FACES
    quality = {row["track_id"]: row["quality"] for row in tracks}
    ranks = [quality[crop.key[0]] * crop.value for crop in chosen.faces]
    assert ranks == sorted(ranks, reverse=True)
    # Every sixth of the film has one.
    assert {int(crop.seconds // 4) for crop in chosen.faces} == set(range(6))


def test_one_shot_fills_the_card_with_other_moments() -> None:
    title = Title(cutouts=False)
    shot = title.add_video("Film", [8.0])[0]
    title.add_track(shot, 0, (0.0, 1.0), crops=20)
    stored = title.stored()
    crops = selection.read_crops(stored.crops)
    chosen = selection.choose(stored.people.to_pylist()[0], stored.tracks.to_pylist(), [], crops)
    keys = [crop.key for crop in chosen.faces]
    assert len(set(keys)) == selection.CARD_FACES
    assert chosen.cover is not None
    assert chosen.cover.key not in keys


def test_missing_cover_crop_falls_back_to_another_picture(episode: StoredTitle) -> None:
    column = pa.array([999_999] * episode.people.num_rows, pa.int64())
    place = episode.people.schema.get_field_index("cover_crop")
    people = episode.people.set_column(place, episode.people.schema.field(place), column)
    view = build_view(replace(episode, people=people))
    assert all(person.cover is not None for person in view.people)


def test_pictures_stop_at_the_budget_covers_first(short: StoredTitle) -> None:
    crops = selection.read_crops(short.crops)
    album = selection.Album(short.crops, crops, max_bytes=50_000)
    rows = sorted(short.tracks.to_pylist(), key=lambda row: row["start_frame"])
    choices = [
        selection.choose(
            person, [r for r in rows if r["person_id"] == person["person_id"]], [], crops
        )
        for person in short.people.to_pylist()
    ]
    unknown = selection.best_first(row for row in rows if row["person_id"] is None)
    selection.fill_album(album, choices, [unknown])
    assert sum(map(len, album.images)) <= 50_000
    assert all(album.number(choice.cover) is not None for choice in choices)
    assert album.left_out > 0
    assert album.left_out + len(album.images) == 45 * 3


def test_merges_show_distance_and_limit(short_view: TitleView) -> None:
    person = short_view.people[0]
    assert person.merges_listed == person.tracks - 1
    first = person.merges[0].merges[0]
    assert first.left.text.startswith("the track at ")
    assert "the larger of" in first.limit
    assert [group.name for group in person.merges] == ["Round 1", "Round 2"]
    assert all(0 < m.fill <= 100 for g in person.merges for m in g.merges if m.fill is not None)


def test_a_merge_that_was_undone_later_is_not_shown(episode: StoredTitle) -> None:
    track_of = {row["person_id"]: row["track_id"] for row in episode.tracks.to_pylist()}
    row = episode.merges.to_pylist()[0] | {
        "left_track_id": track_of["p001"],
        "right_track_id": track_of["p002"],
        "number": 99,
    }
    undone = pa.Table.from_pylist([row], episode.merges.schema)
    view = build_view(replace(episode, merges=pa.concat_tables([episode.merges, undone])))
    assert sum(p.merges_listed for p in view.people) == episode.merges.num_rows


@pytest.mark.parametrize("limits", [(float("nan"), 4.0), (float("inf"), float("inf")), (1.0, 2.0)])
def test_limits_need_not_be_finite_or_above_the_distance(
    limits: tuple[float, float], episode: StoredTitle
) -> None:
    rows = episode.merges.to_pylist()
    rows[0] |= {"left_threshold": limits[0], "right_threshold": limits[1], "distance": 3.0}
    merges = pa.Table.from_pylist(rows, episode.merges.schema)
    view = build_view(replace(episode, merges=merges))
    changed = next(m for p in view.people for g in p.merges for m in g.merges if m.distance == "3")
    expected = {"4": 75.0, "none": None, "2, the larger of 1 and 2": None}
    assert changed.fill == expected[changed.limit]


def test_company_counts_shots_together() -> None:
    title = Title()
    shots = title.add_video("Film", [4.0, 4.0, 4.0])
    for shot, people in zip(shots, [(0, 1), (0, 1), (0, 2)], strict=True):
        for person in people:
            title.add_track(shot, person, (0.1, 0.9 - 0.1 * person), crops=2)
    view = build_view(title.stored())
    assert [(o.person_id, o.text) for o in view.people[0].company] == [
        ("p002", "2 shots together"),
        ("p003", "1 shot together"),
    ]
    assert [o.person_id for o in view.people[2].company] == ["p001"]


def test_names_belong_to_one_grouping() -> None:
    title = series(1)
    first = build_view(title.stored()).names_key
    assert build_view(title.stored()).names_key == first
    title.tracks[0]["person"] = 4 if title.tracks[0]["person"] != 4 else 3
    assert build_view(title.stored()).names_key != first


def test_long_film_lists_the_longest_tracks_and_folds_the_others() -> None:
    view = build_view(long_film(3600, 3, 260).stored())
    person = view.people[0]
    assert len(person.listed) == selection.MAX_TRACKS_LISTED
    assert len(person.folded) == person.tracks - selection.MAX_TRACKS_LISTED > 0
    assert all(face.image is not None for track in person.folded for face in track.faces)
    assert all(len(track.faces) == 1 for track in person.folded)
    assert [text.split(" ", 1)[1] for text in view.left_out] == ["merges (in merges.parquet)"]
    # Every bar and every merge has a face, listed or not.
    assert all(bar.track_id in view.bar_images for p in view.people for bar in p.bars)
    sides = [m for p in view.people for g in p.merges for m in g.merges]
    assert all(m.left.image is not None and m.right.image is not None for m in sides)


def test_tracks_without_their_video_or_person_are_refused(episode: StoredTitle) -> None:
    with pytest.raises(ShapeError, match="tracks need a video of the result"):
        build_view(replace(episode, summary={**episode.summary, "videos": []}))
    with pytest.raises(ShapeError, match="p001"):
        build_view(replace(episode, people=episode.people.slice(1)))
