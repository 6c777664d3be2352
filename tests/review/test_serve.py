"""The page of review, opened from Python and closed again."""

from __future__ import annotations

import threading
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

import vcn_ray
from tests.helpers.review_data import small_title, write_title
from vcn_ray.errors import UsageError
from vcn_ray.io.storage import Storage

pytestmark = pytest.mark.network


@pytest.fixture
def output(tmp_path: Path) -> Path:
    write_title(Storage.open(str(tmp_path)), small_title())
    return tmp_path


def read(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return bytes(answer.read())


def test_the_page_is_served_until_it_is_closed(output: Path) -> None:
    before = threading.active_count()
    with vcn_ray.serve_review(output, who="Ann") as page:
        assert isinstance(page, vcn_ray.ServedReview)
        assert page.address.startswith("http://127.0.0.1:")
        assert page.address in repr(page)
        assert b"<html" in read(page.address)
        assert b"Ann" in read(
            f"{page.address}api/titles/{Storage.open(str(output)).names('titles')[0]}"
        )
    page.wait()  # returns at once
    page.close()  # a second time
    with pytest.raises(URLError):
        read(page.address)
    assert threading.active_count() == before


def test_two_pages_at_once_are_two_servers(output: Path) -> None:
    title = Storage.open(str(output)).names("titles")[0]
    with vcn_ray.serve_review(output) as one, vcn_ray.serve_review(output, title) as other:
        assert other.address.endswith(f"#{title}")
        for page in (one, other):
            assert b"<html" in read(page.address.partition("#")[0])


def test_a_port_that_is_taken_and_an_output_without_results(output: Path, tmp_path: Path) -> None:
    with vcn_ray.serve_review(output) as page:
        port = int(page.address.split(":")[2].partition("/")[0])
        with pytest.raises(UsageError, match="--port 0 takes a free one"):
            vcn_ray.serve_review(output, port=port)
    with pytest.raises(UsageError, match="holds no results"):
        vcn_ray.serve_review(tmp_path / "empty")
