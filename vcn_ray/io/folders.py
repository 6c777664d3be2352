"""Searches folders for videos: every entry is taken, left out for a reason, or a failure."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path
from typing import NamedTuple

_VIDEOS = """
    .264 .265 .3g2 .3gp .3gpp .amv .asf .av1 .avc .avi .avs2 .bik .dif .divx .dv .dvr-ms .evo .f4v
    .flv .gxf .h264 .h265 .hevc .insv .ivf .lxf .m1v .m2t .m2ts .m2v .m4v .mj2 .mjpeg .mjpg .mk3d
    .mkv .mov .mp2v .mp4 .mp4v .mpe .mpeg .mpeg1 .mpeg2 .mpeg4 .mpg .mpv .mts .mxf .mxg .nsv .nut
    .nuv .obu .ogm .ogv .ogx .qt .rm .rmvb .roq .smk .tod .tp .trp .ts .ty .vc1 .vob .vro .webm
    .wmv .wtv .xvid .y4m
    """
VIDEO_ENDINGS = frozenset(_VIDEOS.split())
"""Names that end in one of these are videos, whatever they hold."""

_OTHERS = """
    .3ga .aac .ac3 .aif .aiff .ape .avif .bmp .caf .cr3 .csv .flac .gif .heic .heif .ico .jpeg .jpg
    .json .jsonl .m4a .m4b .m4p .m4r .mka .mks .mp2 .mp3 .mpc .nfo .oga .opus .parquet .png
    .sbv .srt .ssa .sub .svg .thm .tif .tiff .toml .txt .vtt .wav .webp .wma .xml .yaml .yml .zip
    """
OTHER_ENDINGS = frozenset(_OTHERS.split())
"""Sound, pictures and texts, some in the containers of videos: nobody looks inside."""

NO_VIDEO = "no video"
APPLE_DOUBLE = "data of macOS about another file"
PREVIEW = "small copy by a camera"
NO_FILE = "no regular file"
SEEN = "folder searched already"
DANGLING = "link to nothing"

HEAD_BYTES = 2 * 192  # of two packets of a transport stream


class Entry(NamedTuple):
    """A file to read, or what cannot be read."""

    path: str
    problem: str = ""  # why it cannot be read; empty: nothing is known


class Listing(NamedTuple):
    """What a folder and its subfolders contain."""

    entries: list[Entry]  # in the order of their paths, part by part
    skipped: Counter[str]  # how many entries were left out, by reason


def search_folder(root: Path) -> Listing:
    """Find all videos below a folder, links to files and folders included.

    A folder that several links lead to is searched once, so links may form circles.
    """
    entries: list[Entry] = []
    skipped: Counter[str] = Counter()
    waiting = [os.fspath(root)]
    seen: set[tuple[int, int]] = set()
    while waiting:
        folder = waiting.pop()
        try:
            facts = os.stat(folder)
            if (facts.st_dev, facts.st_ino) in seen:
                skipped[SEEN] += 1
                continue
            seen.add((facts.st_dev, facts.st_ino))
            names = sorted(os.listdir(folder), reverse=True)
        except OSError as error:
            entries.append(Entry(folder, f"the folder cannot be searched: {error.strerror}"))
            continue
        for name in names:
            path = os.path.join(folder, name)
            found = _judge(path, name)
            if found is None:
                waiting.append(path)
            elif isinstance(found, Entry):
                entries.append(found)
            else:
                skipped[found] += 1
    entries.sort(key=lambda entry: Path(entry.path).parts)
    return Listing(entries, skipped)


def is_video_name(name: str) -> bool:
    """True for a name with the ending of a video that is no by-product of another file."""
    return os.path.splitext(name)[1].lower() in VIDEO_ENDINGS and not name.startswith("._")


def skip_reason(name: str) -> str:
    """Why a file of some name is left out without a look inside."""
    if name.startswith("._"):
        return APPLE_DOUBLE
    return PREVIEW if name.lower().endswith(".lrv") else NO_VIDEO


def _judge(path: str, name: str) -> Entry | str | None:
    """A video, the reason why an entry is left out, or None for a folder."""
    try:
        facts = os.stat(path)
    except OSError as error:
        if os.path.islink(path) and isinstance(error, FileNotFoundError):
            return Entry(path, DANGLING) if is_video_name(name) else DANGLING
        return Entry(path, f"it cannot be read: {error.strerror}")
    if stat.S_ISDIR(facts.st_mode):
        return None
    if not stat.S_ISREG(facts.st_mode):
        return NO_FILE
    if is_video_name(name):
        return Entry(path)
    ending = os.path.splitext(name)[1].lower()
    known = name.startswith("._") or ending in OTHER_ENDINGS or ending == ".lrv"
    return skip_reason(name) if known or not _looks_like_video(path) else Entry(path)


def _looks_like_video(path: str) -> bool:
    """Look for the marks of the usual containers at the start of a file."""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(HEAD_BYTES)
    except OSError:
        return False
    starts = (b"\x1aE\xdf\xa3", b"FLV\x01", b"\0\0\x01\xba", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")
    packets = any(head[at::size][:2] == b"GG" for at, size in ((0, 188), (4, 192)))
    return (
        head.startswith((*starts, b".RMF", b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02"))
        or (head[4:8] == b"ftyp" and head[8:11] not in (b"M4A", b"M4B", b"hei", b"avi", b"mif"))
        or (head[4:8] in (b"moov", b"mdat") and len(head) == HEAD_BYTES)
        or (head[:4] == b"RIFF" and head[8:12] in (b"AVI ", b"CDXA"))
        or (head[:4] == b"OggS" and any(name in head for name in (b"theora", b"OVP80", b"BBCD")))
        or packets
    )
