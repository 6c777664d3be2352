"""The options of `vcn export`."""

from __future__ import annotations

import argparse

from vcn_ray.exports.words import DATASET_FOLDER, FORMAT_WORDS, SEPARATORS


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Add all but those that say how storage is reached."""
    parser.add_argument("output", metavar="OUT", help="the --output of vcn index")
    formats = "; ".join(f"{name}: {words}" for name, words in FORMAT_WORDS.items())
    parser.add_argument(
        "--format", required=True, choices=list(FORMAT_WORDS), metavar="FORMAT", help=formats
    )
    parser.add_argument("--title", help="its name or id (default: all titles)")
    parser.add_argument(
        "--person",
        action="append",
        default=[],
        metavar="WHO",
        help="name of a person, or id with --title; may be repeated (default: everybody)",
    )
    parser.add_argument(
        "--others",
        action="store_true",
        help="everybody but these persons; with boxes, mot and coco also faces of nobody",
    )
    parser.add_argument(
        "--to",
        metavar="PLACE",
        help="a folder or s3:// prefix for files, or one file (default: this folder; for a "
        f"dataset, {DATASET_FOLDER} in it)",
    )
    parser.add_argument(
        "--separator",
        choices=list(SEPARATORS),
        metavar="SIGN",
        help="between the cells of csv and boxes: , or ; or tab (default: ,)",
    )
    parser.add_argument(
        "--join",
        type=float,
        metavar="SECONDS",
        help="join ranges of a person with at most so much between them; 0 joins those that touch",
    )
    parser.add_argument(
        "--start",
        metavar="TIMECODE",
        help="of the first frame, such as 01:00:00:00 (default: what the file states)",
    )
    parser.add_argument(
        "--rate",
        metavar="RATE",
        help="of the timeline, such as 25 or 30000/1001 (default: the video's own)",
    )
    parser.add_argument(
        "--drop-frame",
        action=argparse.BooleanOptionalAction,
        help="how 29.97 and 59.94 are counted (default: as the start timecode is written)",
    )
