"""Where shots begin and end (METHOD 1.1), from frame signals alone; it knows nothing of pixels.

Pictures are compared by their layout: 8 x 8 cells of mean colour. A picture that becomes sharper or
noisier keeps its layout, a cut changes it. There are four rules:

1. At a hard cut the layout changes, and it or the colours change far more than in the frames
   around. Where frames are too rare to have others around, no camera motion may explain the change.
2. There is no cut where the earlier picture returns at once, as after a flash.
3. In a dissolve the pictures are mixtures of the first and the last one, and change straight from
   one to the other.
4. A plain picture between a fade-out and a fade-in is one cut, where the next picture begins.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np
from pydantic.dataclasses import dataclass

from vcn_ray.bounds import STRICT, Fraction, NonNegative, Positive
from vcn_ray.records import F32, F64, I64, U8, FrameSignals, Mask, Shots

TONE: F32 = np.sqrt(np.arange(256, dtype=np.float32) + 16)
"""Tone of each brightness, 4 to 16.5: noise is about equally large in dark and bright pictures."""

BLACK = 30  # brightness up to which a cell of both pictures says nothing, as in black bars
MIN_LIT = 1 / 3  # fraction of the picture; small letters on black count as this much
NOISE = 0.005  # variance of tones that is no layout
MAX_PLAIN = 0.2  # standard deviation of the tones of a picture in one colour
MIN_AROUND = 3  # frames; with fewer around, a change has nothing to stand out from
MAX_AROUND_SECONDS = 0.5  # frames further away say nothing of the motion at a cut
ALONE_UNLIKE = 0.15  # as `min_unlike`, at a cut with too few frames around
SIDE = 8  # cells of a layout, across and down
MIN_STEPS = 4  # frames in the shortest dissolve
BLOCK = 8192  # pairs of pictures compared at once, which bounds memory


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ShotConfig:
    """What counts as a cut. One setting for every title."""

    min_change: Positive = 0.7  # change of layout at a cut, in tones; sharpening is below 0.2
    min_colours: NonNegative = 0.15  # fraction of pixels that change colour at a hard cut between
    # shots with fast motion
    min_ratio: Positive = 2.2  # change at a cut over the changes around it
    around_seconds: NonNegative = 0.2  # how far "around" reaches on either side
    flash_seconds: NonNegative = 0.3  # a picture that returns after this time was never left
    min_shot_seconds: NonNegative = 0.4  # of two cuts closer than this, the stronger one counts
    dissolve_seconds: NonNegative = 2.0  # longest time over which dissolves are sought; also half
    # and a quarter of it
    min_unlike: Fraction = 0.3  # 1 - correlation of the layouts before and after a dissolve; where
    # only the light changes, they stay alike
    max_unblended: Positive = 0.85  # how far the pictures of a dissolve may be from blending one
    # into the other: 0 with still cameras; a moving camera alone shows what neither end has


class _Film(NamedTuple):
    """What the rules compare of t frames."""

    seconds: F64  # (t,)
    layout: U8  # (t, 192) RGB of 64 cells
    plain: Mask  # (t,) true for pictures in one colour


class _Windows(NamedTuple):
    """Spans of time that may each hold a dissolve, w of them."""

    first: I64  # (w,) frame
    last: I64  # (w,) frame


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
    layout = signals.layout.reshape(count, -1)
    film = _Film(signals.seconds, layout, _is_plain(layout))
    whole, lit = (np.append(np.float32(1), v) for v in _change_and_lit(layout[:-1], layout[1:]))
    change = whole / lit  # (t,) since the frame before; of no meaning for the first

    sudden = _sudden_changes(signals, whole, lit, config)  # (s,), rule 1
    lasting = _drop_returns(sudden, film, change, config)  # rule 2
    cuts = _strongest(lasting, change, film.seconds, config.min_shot_seconds)
    fades = _fades(sudden, film, config)  # rule 4
    dissolves = _dissolves(np.union1d(sudden, fades), cuts, film, config)  # rule 3
    starts = np.unique(np.concatenate([[0], cuts, fades, dissolves])).astype(np.int64)
    return Shots(starts=starts, ends=np.append(starts[1:], count).astype(np.int64))


def layout_change(before: U8, after: U8) -> F32:
    """Measure how much the layout of pictures changes.

    It is the mean change of a cell's tone beyond the change of the whole picture's, over the part
    of the picture that is not black before and after.

    Args:
        before: (n, 192) RGB of 64 cells.
        after: (n, 192) of other pictures.

    Returns:
        (n,) in tones, from 0 to about 10.
    """
    change, lit = _change_and_lit(before, after)
    return change / lit


def _change_and_lit(before: U8, after: U8) -> tuple[F32, F32]:
    """Return the change over the whole picture, and the part of it that is not black, (n,) each."""
    change, lit = np.zeros((2, len(before)), np.float32)
    for start in range(0, len(before), BLOCK):
        rows = slice(start, start + BLOCK)
        tones = TONE[after[rows]] - TONE[before[rows]]
        change[rows] = np.abs(tones - tones.mean(axis=1, keepdims=True)).mean(axis=1)
        brightest = np.maximum(before[rows], after[rows]).reshape(len(tones), -1, 3).max(axis=2)
        lit[rows] = (brightest > BLACK).mean(axis=1)
    return change, np.maximum(lit, MIN_LIT)


def _least_change(before: U8, after: U8) -> F32:
    """Return the change (n,) that is left after the best move of the picture by up to a cell."""
    least = np.full(len(before), np.inf, np.float32)
    for down, right in itertools.product((-1, 0, 1), (-1, 0, 1)):
        moved = layout_change(_part(before, down, right), _part(after, -down, -right))
        least = np.minimum(least, moved)
    return least


def _part(layout: U8, down: int, right: int) -> U8:
    """Return layouts (n, 192) without the cells that leave when the picture moves by a cell."""
    cells = layout.reshape(len(layout), SIDE, SIDE, 3)
    cells = cells[:, max(down, 0) : SIDE + min(down, 0), max(right, 0) : SIDE + min(right, 0)]
    return np.asarray(cells).reshape(len(layout), math.prod(cells.shape[1:]))


def _unlike(before: U8, after: U8) -> F32:
    """Return 1 - correlation (n,) of the tones of layouts: 0 where only the light changes."""
    a, b = (TONE[layout] - TONE[layout].mean(axis=1, keepdims=True) for layout in (before, after))
    variances = ((a * a).mean(axis=1) + NOISE) * ((b * b).mean(axis=1) + NOISE)
    return np.asarray(1 - ((a * b).mean(axis=1) + NOISE) / np.sqrt(variances), np.float32)


def _is_plain(layout: U8) -> Mask:
    """Return which pictures (t, 192) have one colour, such as black."""
    result = np.zeros(len(layout), np.bool_)
    for start in range(0, len(layout), BLOCK):
        tones = TONE[layout[start : start + BLOCK]].reshape(-1, layout.shape[1] // 3, 3)
        result[start : start + BLOCK] = tones.std(axis=1).mean(axis=1) < MAX_PLAIN
    return result


def _sudden_changes(signals: FrameSignals, change: F32, lit: F32, config: ShotConfig) -> I64:
    """Return the frames whose picture differs from the one before as at a hard cut (rule 1).

    Args:
        signals: Of t frames.
        change: (t,) of the whole picture since the frame before.
        lit: (t,) part of the picture that is not black.
        config: The thresholds.
    """
    colours = np.abs(np.diff(signals.histogram, axis=0)).sum(axis=1) / 2
    colours = np.append(np.float32(0), colours)  # (t,) fraction of pixels that change colour
    # What is lit grows during a fade, so change is compared with change of the whole picture.
    stands_out = change >= config.min_ratio * _usual_around(change, signals.seconds, config)
    # Colours stay when things only move, so they tell a cut between two shots in fast motion.
    usual = _usual_around(colours, signals.seconds, config)
    stands_out |= (colours >= config.min_colours) & (colours >= config.min_ratio * usual)
    alone = np.flatnonzero(~np.isfinite(usual[1:])) + 1
    layout = signals.layout.reshape(len(signals), -1)
    unlike = _unlike(layout[alone - 1], layout[alone]) >= ALONE_UNLIKE
    stands_out[alone] = unlike & ~signals.motion_known[alone]
    stands_out[0] = False
    return np.flatnonzero((change >= config.min_change * lit) & stands_out)


def _usual_around(values: F32, seconds: F64, config: ShotConfig) -> F64:
    """Return the second largest of the values around each value; inf where too few are near.

    The second largest ignores another cut nearby, and frames that repeat.
    """
    reach = _frames_in(seconds, config.around_seconds, at_least=3)
    frame = np.arange(len(values))
    largest, second, count = np.zeros((3, len(values)))
    for offset in range(-reach, reach + 1):
        other = np.clip(frame + offset, 0, len(values) - 1)
        near = (other != frame) & (frame + offset == other)
        near &= np.abs(seconds[other] - seconds) <= MAX_AROUND_SECONDS
        value = np.where(near & (other > 0), values[other], 0.0)  # the first changes from nothing
        second = np.maximum(second, np.minimum(largest, value))
        largest = np.maximum(largest, value)
        count += near
    return np.where(count >= MIN_AROUND, second, np.inf)


def _drop_returns(sudden: I64, film: _Film, change: F32, config: ShotConfig) -> I64:
    """Drop changes from which the earlier picture returns, and those before a short plain part."""
    kept = np.ones(len(sudden), np.bool_)
    for number, frame in enumerate(sudden):
        if not kept[number]:
            continue
        # While nothing is to be seen, as when the light fails, nothing can return.
        shown = frame + int(np.argmin(np.append(film.plain[frame:], False)))
        until = film.seconds[min(shown, len(film.seconds) - 1)] + config.flash_seconds
        after = np.arange(frame + 1, np.searchsorted(film.seconds, until, side="right"))
        before = np.broadcast_to(film.layout[frame - 1], (len(after), film.layout.shape[1]))
        back = after[layout_change(before, film.layout[after]) < change[frame] / 2]
        if len(back):
            kept[(sudden >= frame) & (sudden <= back[0])] = False
        elif film.plain[frame] and number + 1 < len(sudden):
            gap = film.seconds[sudden[number + 1]] - film.seconds[frame]
            kept[number] = gap >= config.min_shot_seconds
    return sudden[kept]


def _fades(sudden: I64, film: _Film, config: ShotConfig) -> I64:
    """Return where pictures begin after plain ones that no sudden change enters or leaves."""
    edges = np.flatnonzero(np.diff(film.plain.astype(np.int8), prepend=0, append=0))
    begins, ends = edges[::2], edges[1::2]
    inside = (begins > 0) & (ends < len(film.plain))
    begins, ends = begins[inside], ends[inside]
    # Half a second away both pictures are well visible.
    margin = config.dissolve_seconds / 4
    before = np.searchsorted(film.seconds, film.seconds[begins] - margin)
    after = np.searchsorted(film.seconds, film.seconds[ends] + margin)
    after = np.minimum(after, len(film.seconds) - 1)
    times = film.seconds[sudden]
    entered = np.searchsorted(times, film.seconds[begins] - config.min_shot_seconds)
    left = np.searchsorted(times, film.seconds[ends] + config.min_shot_seconds)
    faded = entered == left
    changed = _unlike(film.layout[before], film.layout[after]) >= config.min_unlike
    return np.asarray(ends[faded & changed], np.int64)


def _dissolves(others: I64, cuts: I64, film: _Film, config: ShotConfig) -> I64:
    """Return the middle frames of dissolves that no other change explains (rule 3)."""
    spans = [_candidates(config.dissolve_seconds / n, others, film, config) for n in (1, 2, 4)]
    windows = _Windows(*(np.concatenate(frames) for frames in zip(*spans, strict=True)))
    strength = np.zeros(len(windows.first))
    for start in range(0, len(strength), BLOCK):
        rows = slice(start, start + BLOCK)
        block = _Windows(windows.first[rows], windows.last[rows])
        strength[rows] = _blend_strength(block, film, config)
    found: list[int] = []
    for number in np.argsort(-strength, kind="stable"):
        if strength[number] <= 0:
            break
        frame = _crossing(_Windows(windows.first[number], windows.last[number]), film)
        near_cut = np.abs(film.seconds[cuts] - film.seconds[frame]) < config.min_shot_seconds
        # A slow dissolve fills several windows.
        again = np.abs(film.seconds[found] - film.seconds[frame]) < config.dissolve_seconds / 2
        if not near_cut.any() and not again.any():
            found.append(frame)
    return np.array(found, np.int64)


def _candidates(span: float, others: I64, film: _Film, config: ShotConfig) -> _Windows:
    """Return the windows of `span` seconds between whose ends the layout changes."""
    seconds, half = film.seconds, span / 2
    middle = np.flatnonzero((seconds - seconds[0] >= half) & (seconds[-1] - seconds >= half))
    first = np.searchsorted(seconds, seconds[middle] - half)
    last = np.minimum(np.searchsorted(seconds, seconds[middle] + half), len(seconds) - 1)
    # Near plain pictures others fade in and out, which rules 1 and 4 judge.
    margin = config.dissolve_seconds / 4
    plain = np.append(-np.inf, film.seconds[film.plain])
    possible = last - first >= MIN_STEPS
    possible &= np.searchsorted(plain, seconds[first] - margin) == np.searchsorted(
        plain, seconds[last] + margin
    )
    possible &= np.searchsorted(others, first, "right") == np.searchsorted(others, last, "right")
    first, last = first[possible], last[possible]
    changed = layout_change(film.layout[first], film.layout[last]) >= config.min_change
    return _Windows(first[changed], last[changed])


def _blend_strength(windows: _Windows, film: _Film, config: ShotConfig) -> F64:
    """Return how strong (w,) the dissolve in each window is; 0 or less where there is none."""
    ends = film.layout[windows.first], film.layout[windows.last]
    change = layout_change(*ends)
    blending = 1 - _unblended(windows, change, film) / config.max_unblended
    different = (_unlike(*ends) >= config.min_unlike) & (_least_change(*ends) >= config.min_change)
    return np.asarray(change * blending * different, np.float64)


def _unblended(windows: _Windows, change: F32, film: _Film) -> F64:
    """Return how far (w,) the pictures of windows are from blending their first into their last.

    It is the part of the pictures that no mixture of both ends explains, and twice the detour: by
    how much the changes from quarter to quarter exceed the change of the whole window, `change`.
    """
    error, difference = np.zeros(len(change)), np.full(len(change), 1e-6)
    path = np.zeros(len(change))
    first, last = _centred(film.layout[windows.first]), _centred(film.layout[windows.last])
    before = windows.first
    for part in (0.25, 0.5, 0.75, 1.0):
        frame = windows.first + np.round(part * (windows.last - windows.first)).astype(np.int64)
        path += layout_change(film.layout[before], film.layout[frame])
        picture, before = _centred(film.layout[frame]), frame
        left, right = _weights(picture, first, last)
        error += np.abs(picture - left[:, None] * first - right[:, None] * last).mean(axis=1)
        ends = [np.abs(picture - end).mean(axis=1) for end in (first, last)]
        difference += np.minimum(*ends)
    return np.asarray(error / difference + 2 * (path / change - 1), np.float64)


def _crossing(window: _Windows, film: _Film) -> int:
    """Return the first frame of a window in which the last picture outweighs the first one."""
    pictures = _centred(film.layout[window.first : window.last + 1])
    left, right = _weights(pictures, pictures[:1], pictures[-1:])
    return int(window.first + np.argmax(right > left))


def _centred(layout: U8) -> F32:
    """Return layouts (n, 192) without the mean of each colour, so that plain colours are 0."""
    cells = layout.reshape(len(layout), layout.shape[1] // 3, 3).astype(np.float32)
    return np.asarray(cells - cells.mean(axis=1, keepdims=True)).reshape(layout.shape)


def _weights(picture: F32, first: F32, last: F32) -> tuple[F64, F64]:
    """Return the weights (n,) of two pictures whose sum is nearest to a third in least squares."""
    ff, fl, ll = ((a * b).sum(axis=1) for a, b in ((first, first), (first, last), (last, last)))
    pf, pl = (picture * first).sum(axis=1), (picture * last).sum(axis=1)
    determinant = np.maximum(ff * ll - fl * fl, 1e-6)
    return (pf * ll - pl * fl) / determinant, (pl * ff - pf * fl) / determinant


def _strongest(frames: I64, strength: F32, seconds: F64, gap: float) -> I64:
    """Choose frames, strongest first, that are `gap` seconds apart."""
    taken: list[int] = []
    for frame in frames[np.argsort(-strength[frames], kind="stable")]:
        if not taken or np.abs(seconds[taken] - seconds[frame]).min() >= gap:
            taken.append(int(frame))
    return np.sort(np.array(taken, dtype=np.int64))


def _frames_in(seconds: F64, span: float, at_least: int) -> int:
    """Return how many frames `span` seconds take at the video's median frame rate."""
    if len(seconds) < 2:
        return at_least
    return max(at_least, round(span / max(float(np.median(np.diff(seconds))), 1e-3)))
