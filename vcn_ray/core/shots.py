"""Where shots begin and end (METHOD 1.1), from frame signals alone; it knows nothing of pixels.

At a hard cut, the change of one frame stands out from the changes around it, in pixels or in
colours. In a dissolve or fade, the colours change over most of a second while no single frame
changes much.
"""

from __future__ import annotations

import itertools

import numpy as np
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, NonNegative
from vcn_ray.records import F32, F64, I64, FrameSignals, Shots


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ShotConfig:
    """What counts as a cut. One setting for every title."""

    min_content: NonNegative = 8.0  # change at a hard cut, 0..255; noise and slow motion stay below
    min_colours: NonNegative = 0.15  # fraction of pixels that change colour at a hard cut between
    # shots with fast motion
    min_ratio: NonNegative = 2.2  # change at a cut over the changes around it
    around_seconds: NonNegative = 0.2  # how far "around" reaches on either side
    flash_seconds: NonNegative = 0.3  # two cuts this close that return to the same colours: a flash
    min_shot_seconds: NonNegative = 0.4  # of two cuts closer than this, the stronger one counts
    dissolve_seconds: NonNegative = 0.8  # time span over which dissolves are detected
    dissolve_colours: NonNegative = 0.35  # fraction of pixels that change colour over that span
    dissolve_path: NonNegative = 300.0  # largest sum of frame changes over a dissolve of all
    # colours; a moving camera changes pixels more for the same change of colours


def find_shots(signals: FrameSignals, config: ShotConfig) -> Shots:
    """Cut a video into shots (METHOD 1.1).

    Args:
        signals: All frames, in order of time.
        config: The thresholds.

    Returns:
        Shots that cover all frames: one for a video without cuts, none for one without frames.
    """
    count = len(signals)
    if not count:
        return Shots(starts=np.zeros(0, np.int64), ends=np.zeros(0, np.int64))
    colours = _colour_change(signals.histogram[:-1], signals.histogram[1:])
    strength = _hard_cuts(signals, np.concatenate([np.zeros(1, np.float32), colours]), config)
    spikes = np.flatnonzero(strength)
    _drop_flashes(strength, signals, config)
    gap = config.min_shot_seconds
    cuts = _strongest(strength, signals.seconds, gap, gap)
    dissolves = _dissolves(signals, spikes, config)
    starts = np.union1d([0], np.concatenate([cuts, dissolves])).astype(np.int64)
    return Shots(starts=starts, ends=np.append(starts[1:], count).astype(np.int64))


def _hard_cuts(signals: FrameSignals, colours: F32, config: ShotConfig) -> F64:
    """Return the strength (t,) of the cut before each frame; 0 where there is none."""
    reach = _frames_in(signals.seconds, config.around_seconds, at_least=3)
    strength = np.zeros(len(signals))
    for change, minimum in ((signals.content, config.min_content), (colours, config.min_colours)):
        # The second largest change around ignores another cut nearby, and frames that repeat.
        ratio = change / np.maximum(_second_largest_around(change, reach), 1e-3)
        cut = (change >= minimum) & (ratio >= config.min_ratio)
        cut &= signals.content >= config.min_content
        strength = np.where(cut, np.maximum(strength, signals.content), strength)
    return strength


def _second_largest_around(values: F32, reach: int) -> F32:
    """Return the second largest of the `reach` values on either side of each value."""
    padded = np.pad(values, reach)
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)
    neighbours = np.delete(windows, reach, axis=1)
    return np.partition(neighbours, -2, axis=1)[:, -2]


def _drop_flashes(strength: F64, signals: FrameSignals, config: ShotConfig) -> None:
    """Clear both cuts around a flash, after which the earlier picture returns."""
    cuts = np.flatnonzero(strength)
    for first, second in itertools.pairwise(cuts):
        if signals.seconds[second] - signals.seconds[first] > config.flash_seconds:
            continue
        before, during, after = signals.histogram[[first - 1, first, second]]
        if _colour_change(before, after) < 0.5 * _colour_change(before, during):
            strength[first] = strength[second] = 0.0


def _dissolves(signals: FrameSignals, spikes: I64, config: ShotConfig) -> I64:
    """Return the middle frames of dissolves and fades that no hard cut or flash explains."""
    seconds, half = signals.seconds, config.dissolve_seconds / 2
    before = np.searchsorted(seconds, seconds - half)
    after = np.minimum(np.searchsorted(seconds, seconds + half), len(seconds) - 1)
    change = _colour_change(signals.histogram[before], signals.histogram[after]).astype(np.float64)
    path = _sum_between(signals.content, before, after)
    found = (change >= config.dissolve_colours) & (path <= config.dissolve_path * change)
    found &= np.searchsorted(spikes, before, "right") == np.searchsorted(spikes, after, "right")
    # The change stays equally large for a while, but its sum over time peaks at the middle.
    middle = np.where(found, _sum_between(change, before, after), 0.0)
    return _strongest(middle, seconds, 2 * config.dissolve_seconds, config.min_shot_seconds)


def _sum_between(values: F32 | F64, first: I64, last: I64) -> F64:
    """Sum values[first] to values[last], both included, for each pair."""
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return np.asarray(sums[last + 1] - sums[first], dtype=np.float64)


def _strongest(strength: F64, seconds: F64, gap: float, from_ends: float) -> I64:
    """Choose frames of positive strength, strongest first, that are `gap` seconds apart."""
    inside = (seconds - seconds[0] >= from_ends) & (seconds[-1] - seconds >= from_ends)
    taken: list[int] = []
    for frame in np.argsort(-strength, kind="stable"):
        if strength[frame] <= 0:
            break
        near = taken and np.abs(seconds[taken] - seconds[frame]).min() < gap
        if inside[frame] and not near:
            taken.append(int(frame))
    return np.sort(np.array(taken, dtype=np.int64))


def _colour_change(before: F32, after: F32) -> F32:
    """Return the fraction of pixels that change colour: half the L1 distance of histograms."""
    return np.asarray(np.abs(after - before).sum(axis=-1) / 2, dtype=np.float32)


def _frames_in(seconds: F64, span: float, at_least: int) -> int:
    """Return how many frames `span` seconds take at the video's median frame rate."""
    if len(seconds) < 2:
        return at_least
    return max(at_least, round(span / max(float(np.median(np.diff(seconds))), 1e-3)))
