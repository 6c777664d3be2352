"""How long does `vcn evaluate` take over a large output?

    python -m benchmarks.system.evaluate [--videos 100000] [--labelled 20] [--whole 300]

The script writes synthetic outputs with a title for each video, and reads them as `vcn evaluate`
does. In the first there are `--videos` titles, and labels for `--labelled` of them, spread evenly;
the other titles have a pointer to their result and nothing that it points to. In the second, each
of `--whole` titles has labels. In the third, a single title has `--whole` videos, all labelled. A
video is 8 s long and shows one face.

A row is one output. `labels s` is the time to read the labels, `evaluate s` the time to compare
them, `cpu s` the processor's time of that, `ms a video` the latter for each video that the output
holds, and `peak MiB` the most memory that the process ever held. Where the system has a file system
in memory, the output lies there: hundreds of thousands of small files take long to write.
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.command import make_parser, read_options, save
from benchmarks.report import Report, say
from vcn_ray.evaluation.labels import read_truth
from vcn_ray.evaluation.output import evaluate_output
from vcn_ray.io.committed import FolderWriter
from vcn_ray.io.storage import Storage
from vcn_ray.io.tables import make_table
from vcn_ray.schema import (
    APPEARANCES,
    CROPS,
    DETECTIONS,
    FRAMES,
    MERGES,
    PEOPLE,
    RESULT_TRACKS,
    SCHEMA_VERSION,
    SHOTS,
    VIDEO_TRACKS,
)

MEMORY = Path("/dev/shm")
SECONDS, RATE, EVERY = 8, 25, 3  # of a video; every third frame is analysed
BOX = {"x0_pixels": 100.0, "y0_pixels": 50.0, "x1_pixels": 160.0, "y1_pixels": 130.0}
FACE = {"score": 0.9, "detected": True, "sharpness": 1.0, "frontality": 1.0, "roll_degrees": 0.0}
COLUMNS = {
    "output": "",
    "videos": "d",
    "labelled": "d",
    "labels s": ".1f",
    "evaluate s": ".1f",
    "cpu s": ".1f",
    "ms a video": ".2f",
    "peak MiB": ".0f",
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__, __file__)
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--labelled", type=int, default=20)
    parser.add_argument("--whole", type=int, default=300)
    options = read_options(parser, argv)
    report = Report(COLUMNS)
    whole = range(options.whole)
    some = range(0, options.videos, max(1, options.videos // options.labelled))
    cases = {
        "few titles are labelled": ([[n] for n in range(options.videos)], some),
        "all titles are labelled": ([[n] for n in whole], whole),
        "one title of all videos": ([list(whole)], whole),
    }
    for name, (titles, labelled) in cases.items():
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
            storage, labels = Storage.open(f"{folder}/out"), Path(folder, "labels.csv")
            began = time.monotonic()
            for number, videos in enumerate(titles):
                write_title(storage, f"t{number}", videos, set(labelled))
            write_labels(labels, labelled)
            say(f"written in {time.monotonic() - began:.0f} s")
            began = time.monotonic()
            truth = read_truth([labels])
            read, before = time.monotonic(), time.process_time()
            scores = evaluate_output(storage, truth)
            done, busy = time.monotonic(), time.process_time() - before
        if sum(score.tracks_scored for score in scores) != len(labelled):
            raise SystemExit("a track lost its label")
        count = sum(map(len, titles))
        report.add(
            {
                "output": name,
                "videos": count,
                "labelled": len(labelled),
                "labels s": read - began,
                "evaluate s": done - read,
                "cpu s": busy,
                "ms a video": 1000 * busy / count,
                "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    save(options, report)


def write_labels(path: Path, videos: Sequence[int]) -> None:
    """Write a label for each second of each video."""
    box = ",".join(f"{value:g}" for value in BOX.values())
    rows = [f"v{n}.mp4,{second},{box},p{n % 7}" for n in videos for second in range(SECONDS)]
    path.write_text("\n".join(["video,seconds,x0,y0,x1,y1,identity", *rows]) + "\n")


def write_title(storage: Storage, title_id: str, videos: list[int], labelled: set[int]) -> None:
    """Write a title; of one without labels, what names its newest result."""
    names = [f"v{n}" for n in videos]
    uris = {name: f"/films/{name}.mp4" for name in names}
    pointer = {"result": "cluster-x", "title": title_id, "uris": uris}
    storage.write_json(f"titles/{title_id}/latest.json", pointer)
    if labelled.isdisjoint(videos):
        return
    for name in names:
        write_video(storage, name)
    writer = FolderWriter(storage, f"titles/{title_id}/cluster-x")
    rows = [
        row | {"quality": 1.0, "status": "clustered", "reason": None, "confidence": 1.0}
        for name in names
        for row in track_rows(name)
    ]
    writer.write_table("tracks.parquet", make_table(rows, RESULT_TRACKS))
    for name, schema in (("people", PEOPLE), ("appearances", APPEARANCES), ("merges", MERGES)):
        writer.write_table(f"{name}.parquet", schema.empty_table())
    summary = {
        "schema_version": SCHEMA_VERSION,
        "title": title_id,
        "videos": [{"video_id": name, "uri": uri} for name, uri in uris.items()],
        "keys": {step: [f"videos/{name}/{step}-x" for name in names] for step in STEPS},
        "splits": {},
    }
    writer.write_json("result.json", summary)
    writer.commit({})


STEPS = ("detect", "track")


def track_rows(video_id: str) -> list[dict[str, Any]]:
    """The one track of a video."""
    frames, end = SECONDS * RATE, float(SECONDS)
    span = {"start_seconds": 0.0, "end_seconds": end, "start_frame": 0, "end_frame": frames}
    name = {"track_id": f"{video_id}-t", "video_id": video_id, "shot_id": f"{video_id}-s"}
    return [name | span | {"faces": frames // EVERY, "crops": 1, "person_id": "p001"}]


def write_video(storage: Storage, video_id: str) -> None:
    """Write the detections and the tracks of a video."""
    times = [n / RATE for n in range(SECONDS * RATE)]
    frames = [
        {"segment": 0, "frame_in_segment": n, "seconds": time, "end_seconds": time + 1 / RATE}
        | {"width_pixels": 320, "height_pixels": 180, "analysed": n % EVERY == 0, "layout": b""}
        | {"histogram": b"", "motion": None, "thumbnail": None}
        for n, time in enumerate(times)
    ]
    faces = [BOX | FACE | {"frame": n, "seconds": times[n]} for n in range(0, len(times), EVERY)]
    found = [
        face
        | {"segment": 0, "frame_in_segment": face["frame"], "landmarks_pixels": [0.0] * 10}
        | {"status": "kept", "image": None, "face": None}
        for face in faces
    ]
    crops = [face | {"track_id": f"{video_id}-t", "image": None, "face": None} for face in faces]
    shots = [row | {"shot_id": f"{video_id}-s"} for row in track_rows(video_id)]
    detected = FolderWriter(storage, f"videos/{video_id}/detect-x")
    detected.write_table("frames-00000.parquet", make_table(frames, FRAMES))
    detected.write_table("seg-00000.parquet", make_table(found, DETECTIONS))
    detected.commit({"segments": 1, "read": [0], "failures": []})
    tracked = FolderWriter(storage, f"videos/{video_id}/track-x")
    tracked.write_table("tracks.parquet", make_table(track_rows(video_id), VIDEO_TRACKS))
    tracked.write_table("crops.parquet", make_table(crops, CROPS))
    tracked.write_table("shots.parquet", make_table(shots, SHOTS))
    tracked.commit({})


if __name__ == "__main__":
    main()
