"""What a pipeline finds in rendered frames: a run's own detection, filters, tracks and samples.

It knows where faces were drawn, and says which of them each found face overlaps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.method.hard_config import FPS, Script, Shot
from benchmarks.method.hard_frames import Rendered, prop_number
from benchmarks.method.props import Props
from vcn_ray.config import RunConfig
from vcn_ray.core.filter import face_sharpness, mark_faces
from vcn_ray.core.track import sample_crops, track_faces
from vcn_ray.core.vectors import pairwise_iou
from vcn_ray.evaluation.labels import is_person
from vcn_ray.evaluation.matching import MIN_IOU
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.records import (
    F32,
    F64,
    I64,
    KEPT,
    U8,
    Detections,
    Faces,
    FrameSignals,
    Mask,
    Shots,
)

PROP_FRAMES = 0.8  # chance that the detector takes a prop for a face in a frame
BATCH = 8  # frames given to the detector at once


class FoundFrame(NamedTuple):
    """What a detector finds in a frame of a shot with r roles."""

    faces: Detections  # n
    crops: U8  # (n, p, p, 3)
    sharpness: F32  # (n,)
    kept: Mask  # (n,)
    role: I64  # (n,) number in the shot, -1: none
    people: F32  # (q, 4) where people are
    found: I64  # (q,) the face of each of them, -1: none


class Watched(NamedTuple):
    """What a pipeline finds in a title: n faces, in order of frame."""

    faces: Faces
    crops: U8  # (n, p, p, 3)
    sampled: Mask  # (n,) true for a face that becomes a crop
    track: I64  # (n,) or -1
    role: I64  # (n,) number in the title of the role that a face overlaps, -1: none
    people: F32  # (q, 4) boxes of people in all frames
    found: I64  # (q,) the face that overlaps each, -1: none


def find_faces(
    shot: Shot, shown: Rendered, pack: FacePack, props: Props, random: np.random.Generator
) -> list[FoundFrame]:
    """Detect, align and filter the faces of a shot, as a run does (METHOD 1.2, 1.3).

    Args:
        shot: Of the script.
        shown: Its frames.
        pack: Detector and aligner.
        props: Things that the detector took for faces when they were found.
        random: Decides in which frames it takes them for faces again.
    """
    config = RunConfig().detect
    is_one = np.array([is_person(role.identity) for role in shot.roles], np.bool_)
    result = []
    for start in range(0, shot.frames, BATCH):
        images = shown.frames[start : start + BATCH]
        for number, real in enumerate(pack.detector.detect(images)):
            boxes = shown.boxes[start + number]
            faces = add_props(real, shot, boxes, props, random)
            crops = pack.aligner.align(images[number], faces)
            sharpness = np.array([face_sharpness(crop) for crop in crops], np.float32)
            status = mark_faces(faces.boxes, faces.scores, sharpness, config)
            overlap = pairwise_iou(faces.boxes, boxes)
            result.append(
                FoundFrame(
                    faces=faces,
                    crops=crops,
                    sharpness=sharpness,
                    kept=np.array([mark == KEPT for mark in status], np.bool_),
                    role=best_match(overlap),
                    people=boxes[is_one],
                    found=best_match(overlap.T)[is_one],
                )
            )
    return result


def add_props(
    faces: Detections, shot: Shot, boxes: F32, props: Props, random: np.random.Generator
) -> Detections:
    """Add the props of a frame that the detector does not see in this light, in most frames.

    A film shows millions of patches, of which the detector takes some for faces in their own light.
    So a prop keeps the place, the landmarks and nearly the score that the detector gave it.
    """
    missed = best_match(pairwise_iou(boxes, faces.boxes)) < 0
    boxes_of, scores_of, landmarks_of = [faces.boxes], [faces.scores], [faces.landmarks]
    for number, role in enumerate(shot.roles):
        if role.kind != "prop" or not missed[number] or random.random() > PROP_FRAMES:
            continue
        prop, box = prop_number(role, props), boxes[number]
        own = props.boxes[prop]
        points = props.landmarks[prop] - (own[:2] + own[2:]) / 2
        points = points * role.path.height[0] + (box[:2] + box[2:]) / 2
        boxes_of.append(box[None])
        scores_of.append(props.scores[prop : prop + 1] * np.float32(random.uniform(0.95, 1.05)))
        landmarks_of.append(points[None].astype(np.float32))
    return Detections(*(np.concatenate(part) for part in (boxes_of, scores_of, landmarks_of)))


def best_match(overlap: F64) -> I64:
    """The column with the largest overlap of each row, -1 where none overlaps enough."""
    if not overlap.shape[1]:
        return np.full(len(overlap), -1)
    best = overlap.argmax(axis=1)
    result: I64 = np.where(overlap.max(axis=1) >= MIN_IOU, best, -1)
    return result


def watch(script: Script, shots: Sequence[Sequence[FoundFrame]]) -> Watched:
    """Track and sample the faces of all shots (METHOD 1.4, 1.5)."""
    frames = [frame for shot in shots for frame in shot]
    first_role = np.cumsum([0] + [len(shot.roles) for shot in script.shots])
    before = np.repeat(first_role[:-1], [len(shot) for shot in shots])  # roles, by frame
    count = np.array([len(frame.faces) for frame in frames])
    first_face = np.cumsum(count) - count
    faces = Faces(
        frame=np.repeat(np.arange(len(frames)), count),
        boxes=np.concatenate([frame.faces.boxes for frame in frames]),
        scores=np.concatenate([frame.faces.scores for frame in frames]),
        kept=np.concatenate([frame.kept for frame in frames]),
    )
    config = RunConfig().track
    ends = np.cumsum([len(shot) for shot in shots])
    starts = ends - [len(shot) for shot in shots]
    track = track_faces(faces, Shots(starts, ends), still_signals(len(frames)), config)
    sharpness = np.concatenate([frame.sharpness for frame in frames])
    sampled = sample_crops(faces.frame / FPS, track, sharpness, config)
    return Watched(
        faces=faces,
        crops=np.concatenate([frame.crops for frame in frames]),
        sampled=sampled & (track >= 0),
        track=track,
        role=_shifted([frame.role for frame in frames], before),
        people=np.concatenate([frame.people for frame in frames]),
        found=_shifted([frame.found for frame in frames], first_face),
    )


def still_signals(frames: int) -> FrameSignals:
    """Signals of a camera that stands still; every frame is analysed."""
    return FrameSignals(
        seconds=np.arange(frames) / FPS,
        analysed=np.ones(frames, np.bool_),
        layout=np.zeros((frames, 8, 8, 3), np.uint8),
        histogram=np.ones((frames, 1), np.float32),
        motion=np.tile(np.eye(2, 3, dtype=np.float32), (frames, 1, 1)),
        motion_known=np.zeros(frames, np.bool_),
    )


def _shifted(rows: Sequence[I64], by: I64) -> I64:
    """The rows joined, each list shifted; -1 stays."""
    moved = [np.where(row >= 0, row + shift, -1) for row, shift in zip(rows, by, strict=True)]
    joined: I64 = np.concatenate(moved)
    return joined
