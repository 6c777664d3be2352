"""What each format of export is for, in words; a module of its own, since help must not wait."""

from __future__ import annotations

DATASET = "dataset"

DATASET_FOLDER = "vcn-dataset"
"""Where a dataset goes if no place is named: it is a folder of many files."""

SEPARATORS = {",": ",", ";": ";", "tab": "\t"}
"""What may stand between the cells of a CSV, by its name on the command line."""

FORMAT_WORDS = {
    "csv": "appearances for spreadsheets and pandas",
    "resolve-edl": "markers for DaVinci Resolve",
    "avid-markers": "markers for Avid Media Composer",
    "edl": "CMX 3600 with locators",
    "otio": "OpenTimelineIO with markers",
    "fcpxml": "keywords for Final Cut Pro",
    "webvtt": "who is on screen, for players",
    "boxes": "CSV of boxes in every picture, for blurring",
    "mot": "boxes for trackers and CVAT",
    "coco": "boxes for labelling tools",
    DATASET: "all tables of the catalog as Parquet for DuckDB, Spark and Athena",
}
"""Words for each of FORMATS, and for the dataset, which is a folder for the whole catalog."""
