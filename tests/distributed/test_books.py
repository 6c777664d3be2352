"""What the driver's books say is missing and due; without Ray, storage or a video."""

from __future__ import annotations

from tests.helpers.plans import title, video
from vcn_ray.distributed.books import Books, Due
from vcn_ray.run.failures import Failure
from vcn_ray.run.plan import SegmentJob, TitlePlan

LOST = Failure("a.mp4", "detect", 1, "decode_error", "no picture")


def missing(plan: TitlePlan) -> list[SegmentJob]:
    """All segments of a title."""
    return [job for member in plan.videos for job in member.jobs()]


def test_a_title_comes_due_step_by_step() -> None:
    a, b = video("a"), video("b", segments=1)
    season = title("Season", a, b)
    books = Books()
    assert books.open_title(season, missing(season)) == Due(jobs=(*a.jobs(), *b.jobs()))
    assert (list(books), len(books), books.untracked) == ([season], 1, 2)
    assert books.end_segment("a", 0, committed=True) == Due()
    assert books.end_segment("b", 0, committed=True) == Due(videos=(b,))
    assert books.end_segment("a", 1, committed=True) == Due(videos=(a,))
    assert books.end_tracking("a", (), crops=30) == Due()
    assert books.untracked == 1
    assert books.end_tracking("b", (), crops=12) == Due(titles=(season,))
    assert (books.untracked, books.crops(season)) == (0, 42)
    assert [known.plan for known in books.close_title("season")] == [a, b]
    assert (list(books), books.title("season"), books.video("a")) == ([], None, None)


def test_a_video_without_missing_segments_is_due_at_once() -> None:
    a, b = video("a"), video("b")
    season = title("Season", a, b)
    books = Books()
    due = books.open_title(season, a.jobs()[1:])
    assert due == Due(jobs=(a.jobs()[1],), videos=(b,))
    known = books.video("a")
    assert known
    assert (known.segments, known.ended) == (1, 0)
    assert books.end_segment("a", 1, committed=True) == Due(videos=(a,))
    assert (known.segments, known.ended) == (1, 1)


def test_each_thing_is_due_once() -> None:
    a = video("a", segments=1)
    film = title("Film", a)
    books = Books()
    books.open_title(film, missing(film))
    assert books.end_segment("a", 0, committed=True).videos == (a,)
    assert books.end_segment("a", 0, committed=True) == Due()  # put twice, so it ended twice
    assert books.end_tracking("a", (), crops=1).titles == (film,)
    assert books.end_segment("a", 0, committed=True) == Due()
    assert books.end_tracking("a", (), crops=1) == Due()


def test_a_video_of_two_titles_is_done_once() -> None:
    a, b = video("a", segments=1), video("b", segments=1)
    alone, season = title("Alone", a), title("Season", a, b)
    books = Books()
    assert books.open_title(alone, missing(alone)).jobs == tuple(a.jobs())
    assert books.open_title(season, missing(season)) == Due(jobs=tuple(b.jobs()))
    books.end_segment("b", 0, committed=True)
    assert books.end_segment("a", 0, committed=True) == Due(videos=(a,))
    assert books.end_tracking("b", (), crops=1) == Due()
    assert books.end_tracking("a", (), crops=1) == Due(titles=(alone, season))


def test_a_title_of_tracked_videos_is_due_at_once() -> None:
    a, b = video("a", segments=1), video("b", segments=1)
    season, alone = title("Season", a, b), title("Alone", a)
    books = Books()
    books.open_title(season, missing(season))
    books.end_segment("a", 0, committed=True)
    assert books.open_title(title("Early", a), []) == Due()  # the video is being tracked
    books.end_tracking("a", (), crops=7)
    # The look-up of this title is stale: it names a segment that was committed meanwhile.
    assert books.open_title(alone, missing(alone)) == Due(titles=(alone,))
    assert books.crops(alone) == 7


def test_failures_are_due_for_each_copy_of_a_video() -> None:
    a, copy, again = video("a"), video("a", uri="copy.mp4"), video("a", uri="copy.mp4")
    books = Books()
    books.open_title(title("One", a), a.jobs())
    assert books.open_title(title("Two", copy), copy.jobs()).failures == ()
    due = books.end_tracking("a", (LOST,), crops=1)
    assert [failure.uri for failure in due.failures] == ["a.mp4", "copy.mp4"]
    assert {failure.message for failure in due.failures} == {"no picture"}
    # Only a copy that was not known before is news.
    assert books.open_title(title("Three", again), []).failures == ()
    late = books.open_title(title("Four", video("a", uri="late.mp4")), [])
    assert [(failure.uri, failure.segment) for failure in late.failures] == [("late.mp4", 1)]


def test_a_video_stays_open_while_a_title_contains_it() -> None:
    a, b = video("a", segments=1), video("b", segments=1)
    alone, season = title("Alone", a), title("Season", a, b)
    books = Books()
    books.open_title(alone, missing(alone))
    books.open_title(season, missing(season))
    assert [known.plan for known in books.close_title("season")] == [b]
    assert books.end_segment("b", 0, committed=True) == Due()  # nobody waits for it any more
    assert books.end_segment("a", 0, committed=True) == Due(videos=(a,))
    assert [known.plan for known in books.close_title("alone")] == [a]
    assert books.end_tracking("a", (), crops=1) == Due()
    assert len(books) == books.untracked == 0


def test_a_video_that_is_opened_again_is_missing_what_the_look_up_says() -> None:
    a = video("a")
    books = Books()
    books.open_title(title("One", a), a.jobs())
    books.end_segment("a", 0, committed=False)
    known = books.video("a")
    assert known
    assert (known.ended, known.pending) == (1, {1})
    books.close_title("one")
    two = title("Two", a)
    assert books.open_title(two, a.jobs()).jobs == tuple(a.jobs())
    # Tracks of the call that was started for the first title are as good.
    assert books.end_tracking("a", (), crops=3) == Due(titles=(two,))
    assert [books.end_segment("a", n, committed=True) for n in (0, 1)] == [Due(), Due()]


def test_a_failed_segment_makes_nothing_due() -> None:
    a = video("a", segments=1)
    books = Books()
    books.open_title(title("Film", a), a.jobs())
    assert books.end_segment("a", 0, committed=False) == Due()
    assert books.end_segment("other", 0, committed=True) == Due()


def test_a_video_that_is_tracked_twice_is_reported_once() -> None:
    """Its titles were closed while it was tracked, and another one opened it again."""
    books, a = Books(), video("a", segments=1)
    books.open_title(title("One", a), ())
    books.close_title("one")
    books.open_title(title("Two", a), ())
    first = books.end_tracking("a", (LOST,), 5)
    assert (len(first.failures), len(first.titles)) == (1, 1)
    assert books.end_tracking("a", (LOST,), 5) == Due()
