"""Cluster your own face tracks, without videos, storage or Ray.

    python examples/cluster_crops.py tracks/

The folder has a sub-folder for each track, with pictures of one face in each. The pack finds and
aligns the faces; then the encoder is adapted to these tracks, and they are clustered.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

import vcn_ray
from vcn_ray.packs.face_pack import FacePack
from vcn_ray.packs.load import load_pack
from vcn_ray.records import U8


def aligned_face(path: Path, pack: FacePack) -> U8 | None:
    """The clearest face of a picture, aligned for the pack's encoder; None: there is none."""
    try:
        picture = np.asarray(Image.open(path).convert("RGB"))
    except UnidentifiedImageError:
        return None
    (faces,) = pack.detector.detect(picture[None])
    return pack.aligner.align(picture, faces)[0] if len(faces) else None


def main() -> None:
    """Read the tracks and print the tracks of each person."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tracks", type=Path, help="a folder with a sub-folder for each track")
    parser.add_argument(
        "--pack", default="centerface-sface", help="face models: a name or a folder"
    )
    options = parser.parse_args()

    pack = load_pack(options.pack)
    folders = sorted(path for path in options.tracks.iterdir() if path.is_dir())
    crops, track = [], []
    for number, folder in enumerate(folders):
        for path in sorted(folder.iterdir()):
            face = aligned_face(path, pack)
            if face is not None:
                crops.append(face)
                track.append(number)

    if not crops:
        raise SystemExit(f"no face was found in the pictures below {options.tracks}")
    people = vcn_ray.run_title(np.stack(crops), track, pack=pack)
    print(people)
    for number, tracks in enumerate(people, start=1):
        print(f"person {number}: {', '.join(folders[t].name for t in tracks)}")


if __name__ == "__main__":
    main()
