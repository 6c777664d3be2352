"""Index a folder of videos and list who appears when.

python examples/index_folder.py films/ out
"""

from __future__ import annotations

import argparse

import vcn_ray


def main() -> None:
    """Index, then read the results back."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("videos", help="a folder, a file, a manifest or s3://bucket/prefix")
    parser.add_argument("output", help="a folder or s3://bucket/prefix")
    options = parser.parse_args()

    vcn_ray.index(options.videos, options.output, local=True, progress=True)
    for title in vcn_ray.open_results(options.output):
        print(title)
        for person in title.people:
            print(f"  {person.person_id}: {person.screen_seconds:.1f} s in {person.tracks} tracks")
            for seen in title.appearances_of(person.person_id):
                print(f"    {seen.start_seconds:7.2f} to {seen.end_seconds:7.2f} s")


if __name__ == "__main__":
    main()
