from __future__ import annotations

import numpy as np
import pytest

from vcn_ray.errors import StorageError
from vcn_ray.io.tables import (
    box_fields,
    decode_image,
    encode_jpeg,
    encode_png,
    load_arrays,
    load_outputs,
    make_table,
    read_boxes,
    save_arrays,
    save_outputs,
)
from vcn_ray.records import TrackOutputs
from vcn_ray.schema import CROPS, SCHEMA_VERSION, SHOTS, TABLES


def test_tables_have_the_schema_s_columns() -> None:
    row = {
        "video_id": "v",
        "shot_id": "s",
        "start_frame": 0,
        "end_frame": 5,
        "start_seconds": 0.0,
        "end_seconds": 0.2,
    }
    table = make_table([row | {"more": 1}], SHOTS)
    assert table.schema.equals(SHOTS, check_metadata=True)
    with pytest.raises(KeyError, match="start_frame"):
        make_table([{k: v for k, v in row.items() if k != "start_frame"}], SHOTS)


def test_every_schema_names_its_version_and_order() -> None:
    names = [schema.metadata[b"vcn_table"] for schema in TABLES]
    assert len(set(names)) == len(names)
    assert all(
        schema.metadata[b"vcn_schema_version"] == SCHEMA_VERSION.encode() for schema in TABLES
    )
    for schema in TABLES:
        for part in schema.metadata[b"vcn_sort"].decode().split(", "):
            assert part.split()[0] in schema.names


def test_boxes_go_round() -> None:
    rows = [
        {
            "track_id": "t",
            "frame": n,
            "seconds": 0.0,
            **box_fields(np.array([1, 2, 3.5, n], np.float32)),
            "score": 1.0,
            "detected": True,
            "sharpness": 1.0,
            "frontality": 1.0,
            "image": None,
            "face": None,
        }
        for n in range(2)
    ]
    boxes = read_boxes(make_table(rows, CROPS))
    np.testing.assert_array_equal(boxes, np.array([[1, 2, 3.5, 0], [1, 2, 3.5, 1]], np.float32))
    assert read_boxes(CROPS.empty_table()).shape == (0, 4)


def test_pictures_go_round() -> None:
    ramp = np.linspace(0, 255, 32 * 32 * 3).reshape(32, 32, 3).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(encode_png(ramp)), ramp)
    assert np.abs(decode_image(encode_jpeg(ramp)).astype(int) - ramp).max() <= 8


def test_outputs_go_round() -> None:
    rng = np.random.default_rng(0)
    k, o, d = 3, 5, 4
    outputs = TrackOutputs(
        crops=np.array([1, 2, 3]),
        teacher=rng.random((k, o), np.float32),
        student=rng.random((k, o), np.float32),
        within=rng.random(k),
        within_views=rng.random(k),
        output=rng.random((k, o), np.float32),
        embedding=rng.random((k, d), np.float32),
        pretrained=rng.random((k, d), np.float32),
        pretrained_views=rng.random(k),
        quality=rng.random(k, np.float32),
        score=np.array([0.7, np.nan, 0.9], np.float32),
        recognisability=rng.random(k, np.float32),
        centre=rng.random(o, np.float32),
        teacher_temperature=0.07,
        student_temperature=0.1,
    )
    again = load_outputs(save_outputs(outputs))
    assert isinstance(again.teacher_temperature, float)
    assert (again.teacher_temperature, again.student_temperature) == (0.07, 0.1)
    for name in ("crops", "teacher", "within", "score", "recognisability", "centre"):
        np.testing.assert_array_equal(getattr(again, name), getattr(outputs, name))
        assert getattr(again, name).dtype == getattr(outputs, name).dtype


def test_bytes_that_are_no_arrays_are_an_error() -> None:
    assert load_arrays(save_arrays({"x": np.eye(2)}))["x"].tolist() == [[1, 0], [0, 1]]
    with pytest.raises(StorageError, match="cannot be read"):
        load_arrays(b"\x80\x04 pickle")
