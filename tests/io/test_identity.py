from __future__ import annotations

import io

import pytest

from vcn_ray.io.identity import digest, slug, stream_hash, title_id, video_id


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("The Big Film (2024)", "the-big-film-2024"),
        ("Amélie", "amelie"),
        ("../../etc/passwd", "etc-passwd"),
        ("七人の侍", "untitled"),
        ("x" * 100, "x" * 40),
        ("a" * 39 + " b", "a" * 39),
    ],
)
def test_slugs_are_safe_anywhere(name: str, expected: str) -> None:
    assert slug(name) == expected


def test_ids_come_from_content() -> None:
    content = stream_hash(io.BytesIO(b"film"))
    assert video_id("Film", 4, content) == video_id("Film", 4, content)
    assert video_id("Film", 4, content) != video_id("Film", 4, stream_hash(io.BytesIO(b"cut!")))
    assert title_id("Season", ["a", "b"]) == title_id("Season", ["b", "a"])
    assert title_id("Season", ["a", "b"]) != title_id("Season", ["a"])


def test_digest_depends_on_content_and_not_on_order() -> None:
    assert digest("a", {"x": 1, "y": 2}) == digest("a", {"y": 2, "x": 1})
    assert digest("a", "b") != digest("ab")
    assert len(digest()) == 12
