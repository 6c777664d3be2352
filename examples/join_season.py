"""Index the episodes of a season as one title, so that a person has one id in all of them.

    python examples/join_season.py "Season 1" out episode1.mp4 episode2.mp4

A manifest says which videos belong to one title: they share one adapted encoder and one clustering.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import vcn_ray


def main() -> None:
    """Write a manifest, index it, and print who is in which episode."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("season", help="name of the title")
    parser.add_argument("output", help="a folder or s3://bucket/prefix")
    parser.add_argument("episodes", nargs="+", type=Path, help="video files")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "season.csv"
        with manifest.open("w", newline="") as stream:
            rows = csv.writer(stream)
            rows.writerow(["uri", "title"])
            rows.writerows([str(path.absolute()), options.season] for path in options.episodes)
        vcn_ray.index(manifest, options.output, local=True, progress=True)

    season = vcn_ray.open_results(options.output).title(options.season)
    seen = season.appearances.to_pandas()  # pandas is installed with Ray's data extra
    episode = seen["video_id"].map({i: Path(uri).name for i, uri in season.videos.items()})
    seconds = (seen["end_seconds"] - seen["start_seconds"]).groupby(
        [seen["person_id"], episode.rename("episode")]
    )
    print(seconds.sum().unstack(fill_value=0).round(1))


if __name__ == "__main__":
    main()
