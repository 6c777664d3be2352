"""A video's uri as something that can be opened, wherever it lies; it reads nothing yet."""

from __future__ import annotations

from typing import BinaryIO, cast

from vcn_ray.io.s3 import SCHEME, S3Config
from vcn_ray.io.s3_file import S3File
from vcn_ray.io.video import Source


def open_source(uri: str, etag: str, s3: S3Config) -> Source:
    """The video of a uri.

    Args:
        uri: A path, or `s3://bucket/key`.
        etag: Of the object that is meant, so that another in its place is an error; empty: any.
        s3: How S3 is reached.

    Returns:
        The path of a local file; a seekable file that reads an object by range.

    Raises:
        UsageError: An S3 uri that names no object.
    """
    if not uri.startswith(SCHEME):
        return uri
    return cast(BinaryIO, S3File(uri, etag, config=s3))  # the stubs know no other than their own
