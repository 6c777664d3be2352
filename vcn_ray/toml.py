"""Reads TOML of unknown origin; it knows no settings and no packs.

Python's reader raises several classes of errors for hostile input, and its speed and stack are
limited. This module gives one error, with one line, for all of them.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 18  # of a file of settings; the largest sensible one has some thousand
MAX_DOTS = 100  # in a line: the reader's time grows with the square of the parts of a dotted key


class TomlError(ValueError):
    """The content is not TOML that can be used; the message says why in one line."""


def parse_toml(content: bytes | str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        TomlError: It is not TOML in UTF-8, is too long, or too deeply nested.
    """
    if len(content) > MAX_BYTES:
        raise TomlError(f"it has over {MAX_BYTES} bytes")
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
            raise TomlError(f"a line has over {MAX_DOTS} dots")
        return tomllib.loads(text)
    except RecursionError:
        raise TomlError("it is too deeply nested") from None
    except TomlError:
        raise
    except ValueError as error:  # bad UTF-8, bad TOML, an impossible date, an integer too long
        raise TomlError(" ".join(str(error).split())[:200]) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; at most one byte more than MAX_BYTES is read.

    Raises:
        TomlError: As `parse_toml`.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return parse_toml(file.read(MAX_BYTES + 1))
