"""Outputs of two titles with the same people, of whom one title names some."""

from __future__ import annotations

from tests.helpers.review_data import small_title, write_title
from vcn_ray.catalog_people import decide
from vcn_ray.io.storage import Storage
from vcn_ray.review.desk import Desk

SECOND = "second-1"


def write_second(storage: Storage, name: str = "Grace") -> str:
    """Write another title, `Second`, in which p002 has a name; returns its id."""
    other = write_title(storage, small_title(), "Second", title_id=SECOND)
    Desk(storage, other, "bob").name("p002", name)
    return other


def join(storage: Storage, title: str, person: str, other: str, their: str) -> str:
    """Decide that two people of two titles are one; returns the decision's id."""
    return decide(storage.uri, "join", f"{title}:{person}", f"{other}:{their}", s3=storage.s3)


def write_both(storage: Storage) -> str:
    """Write two titles of the same six people, p002 of both joined; returns the first one's id."""
    title = write_title(storage, small_title())
    write_second(storage)
    join(storage, title, "p002", SECOND, "p002")
    return title
