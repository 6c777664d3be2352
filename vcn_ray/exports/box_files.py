"""Boxes as MOT challenge lines for trackers, and as COCO JSON for labelling tools."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from vcn_ray.exports.ranges import ExportVideo, TrackBoxes
from vcn_ray.records import Mask

FACE = 1  # the one class of a MOT file
NOBODY = "unknown"  # category of faces of nobody


def write_mot(videos: Sequence[ExportVideo]) -> bytes:
    """Lines `frame,id,x,y,w,h,conf,class,visibility`, by frame; frames and pixels count from 1.

    An id is a person's number, 3 of p003, and is never twice in a frame: a second face of the same
    person, as in a mirror, and each track of nobody gets a number of its own. `conf` is 1, as in
    annotations; `visibility` is 1 where the face was measured and 0 where it was interpolated.
    """
    (video,) = videos
    lines = []
    for track, number in zip(video.boxes, track_numbers(video), strict=True):
        for place, picture in enumerate(track.picture.tolist()):
            x0, y0, x1, y1 = track.boxes[place].tolist()
            box = f"{x0 + 1:.2f},{y0 + 1:.2f},{x1 - x0:.2f},{y1 - y0:.2f}"
            seen = int(track.measured[place])
            lines.append((picture + 1, number, f"{picture + 1},{number},{box},1,{FACE},{seen}\n"))
    return "".join(line for *_, line in sorted(lines)).encode()


def track_numbers(video: ExportVideo) -> list[int]:
    """An id for each track: of its person, or a new one where that is in use in a frame."""
    last = max((track.person.number for track in video.boxes if track.person), default=0)
    taken: dict[int, Mask] = {}
    numbers = []
    for track in video.boxes:
        number = track.person.number if track.person else 0
        used = taken.setdefault(number, np.zeros(_length(video), np.bool_))
        if not number or used[track.picture].any():
            number = last = last + 1
        else:
            used[track.picture] = True
        numbers.append(number)
    return numbers


def _length(video: ExportVideo) -> int:
    return max((int(track.picture.max()) + 1 for track in video.boxes), default=0)


def write_coco(videos: Sequence[ExportVideo]) -> bytes:
    """The boxes of a title as COCO: an image for each picture with a box, a category a person."""
    content: dict[str, list[dict[str, Any]]] = {
        "videos": [],
        "images": [],
        "annotations": [],
        "categories": _categories(videos),
    }
    for number, video in enumerate(videos, start=1):
        size = {"width": video.width, "height": video.height}
        content["videos"].append(
            {"id": number, "name": video.name, "video_id": video.video_id, **size}
        )
        _add_images(content, video, number)
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _categories(videos: Sequence[ExportVideo]) -> list[dict[str, Any]]:
    people = {t.person.number: t.person for v in videos for t in v.boxes if t.person}
    found: list[dict[str, Any]] = [
        {
            "id": number,
            "name": person.label,
            "supercategory": "face",
            "person_id": person.person_id,
        }
        for number, person in sorted(people.items())
    ]
    if any(track.person is None for video in videos for track in video.boxes):
        last = max(people, default=0)
        found.append({"id": last + 1, "name": NOBODY, "supercategory": "face", "person_id": None})
    return found


def _add_images(content: dict[str, list[dict[str, Any]]], video: ExportVideo, number: int) -> None:
    nobody = content["categories"][-1]["id"] if content["categories"] else 0
    first = len(content["images"]) + 1
    pictures = sorted({int(p) for track in video.boxes for p in track.picture})
    image = {picture: first + row for row, picture in enumerate(pictures)}
    sizes = picture_sizes(video)
    for picture in pictures:
        width, height = sizes.get(picture, (video.width, video.height))
        content["images"].append(
            {
                "id": image[picture],
                "file_name": f"{video.video_id}/{picture:08d}.jpg",
                "width": width,
                "height": height,
                "video_id": number,
                "frame_index": picture,
            }
        )
    for track in video.boxes:
        for place, picture in enumerate(track.picture.tolist()):
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": image[picture],
                    "category_id": track.person.number if track.person else nobody,
                    **_annotation(track, place),
                }
            )


def picture_sizes(video: ExportVideo) -> dict[int, tuple[int, int]]:
    """Width and height of each picture with a frame number, where they were read."""
    times = video.clock.times
    numbers = video.clock.frame if video.clock.own else np.arange(len(times.seconds))
    return {
        int(number): (int(width), int(height))
        for number, width, height in zip(numbers, times.width, times.height, strict=True)
    }


def _annotation(track: TrackBoxes, place: int) -> dict[str, Any]:
    x0, y0, x1, y1 = (round(value, 2) for value in track.boxes[place].tolist())
    width, height = round(x1 - x0, 2), round(y1 - y0, 2)
    return {
        "bbox": [x0, y0, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "track_id": track.track_id,
        "person_id": track.person.person_id if track.person else None,
        "measured": bool(track.measured[place]),
        "score": round(float(track.scores[place]), 4),
    }
