"""The feed that gives segments to Ray Data while more of them become known; without Ray."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from vcn_ray.distributed.feed import MAX_ANSWER, SegmentFeed
from vcn_ray.run.plan import SegmentJob

JOB = SegmentJob("film.mp4", "film-1", "videos/film-1/faces-1", 0, 0, None, 0.0, 30.0)


def jobs(count: int, first: int = 0) -> list[SegmentJob]:
    return [replace(JOB, index=first + number) for number in range(count)]


def test_an_early_reader_waits_for_segments() -> None:
    async def story() -> None:
        feed = SegmentFeed()
        asked = asyncio.create_task(feed.take(0))
        await asyncio.sleep(0)
        assert not asked.done()
        await feed.put(jobs(2))
        assert await asked == jobs(2)
        asked = asyncio.create_task(feed.take(2))
        await asyncio.sleep(0)
        await feed.end(2)
        assert await asked is None

    asyncio.run(story())


def test_the_end_may_arrive_before_the_last_segments() -> None:
    async def story() -> None:
        feed = SegmentFeed()
        await feed.end(3)
        asked = asyncio.create_task(feed.take(0))
        await asyncio.sleep(0)
        assert not asked.done()
        await feed.put(jobs(2))
        assert await asked == jobs(2)
        await feed.put(jobs(1, first=2))
        assert await feed.take(2) == jobs(1, first=2)
        assert await feed.take(3) is None

    asyncio.run(story())


def test_a_reader_that_restarts_finds_the_same_numbers() -> None:
    async def story() -> None:
        feed = SegmentFeed()
        await feed.put(jobs(4))
        await feed.forget([0, 2])
        await feed.forget([2])  # twice
        one, three = jobs(4)[1], jobs(4)[3]
        assert await feed.take(0) == [None, one, None, three]
        await feed.put(jobs(2 * MAX_ANSWER, first=4))
        answer = await feed.take(4)
        assert answer == jobs(MAX_ANSWER, first=4)

    asyncio.run(story())
