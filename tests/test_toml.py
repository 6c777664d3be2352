"""TOML of unknown origin ends in values or in one error of one line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from vcn_ray.toml import MAX_BYTES, TomlError, parse_toml, read_toml


def test_sound_content_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b'\xef\xbb\xbfseed = 3\n[detect]\nwords = "a.b.c"\n')
    assert read_toml(path) == {"seed": 3, "detect": {"words": "a.b.c"}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = " + b"[" * 100_000, "too deeply nested"),
        (b"a = " + b"{a=" * 50_000, "too deeply nested"),
        (b"a = " + b"9" * 5_000, "digits"),
        (b"a = 2026-02-30", "date"),
        (b'a = "\x00"', "Illegal character"),
        ("a = 1".encode("utf-16"), "utf-8"),
        (b"a = 1\na = 2", "overwrite"),
        (b".".join([b"a"] * 20_000) + b" = 1", "over 100 dots"),
        (b"#" * (MAX_BYTES + 1), "over 262144 bytes"),
    ],
)
def test_hostile_content_is_refused_at_once_in_one_line(content: bytes, said: str) -> None:
    began = time.monotonic()
    with pytest.raises(TomlError, match=said) as caught:
        parse_toml(content)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 2


def test_an_endless_file_is_read_in_part() -> None:
    with pytest.raises(TomlError, match="over"):
        read_toml(Path("/dev/zero"))
