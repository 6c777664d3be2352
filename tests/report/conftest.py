"""Titles and pages that the tests of the report share; no test changes them."""

from __future__ import annotations

import pytest

from tests.helpers.report_data import series, short_film
from vcn_ray.report.pages import render_title
from vcn_ray.report.view import TitleView, build_view
from vcn_ray.run.stored import StoredTitle


@pytest.fixture(scope="session")
def short() -> StoredTitle:
    """The film of eight people and 45 tracks."""
    return short_film().stored()


@pytest.fixture(scope="session")
def short_view(short: StoredTitle) -> TitleView:
    return build_view(short)


@pytest.fixture(scope="session")
def short_page(short_view: TitleView) -> str:
    return render_title(short_view)


@pytest.fixture(scope="session")
def episode() -> StoredTitle:
    """A title of one video with five people."""
    return series(1).stored("An episode")


@pytest.fixture(scope="session")
def series_page() -> str:
    """The page of a title of three videos."""
    return render_title(build_view(series(3).stored("A series")))
