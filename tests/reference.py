"""The formulas of METHOD written out slowly, one pair at a time; fast versions must equal them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from scipy import linalg

from vcn_ray.core.linkage import CannotLink
from vcn_ray.core.prior import FacePrior
from vcn_ray.core.vectors import Floats
from vcn_ray.records import F64, I64

Row = Sequence[float] | Floats


def softmax(row: Sequence[float]) -> list[float]:
    top = max(row)
    powers = [math.exp(value - top) for value in row]
    return [power / sum(powers) for power in powers]


def loss(
    teacher_output: Row,
    student_output: Row,
    centre: Row,
    teacher_temperature: float,
    student_temperature: float,
) -> float:
    """METHOD 2.3 for one ordered pair of head outputs."""
    p = softmax(
        [(z - c) / teacher_temperature for z, c in zip(teacher_output, centre, strict=True)]
    )
    q = softmax([z / student_temperature for z in student_output])
    return -sum(a * math.log(b) for a, b in zip(p, q, strict=True))


def soft_loss(p: Row, q: Row) -> float:
    """METHOD 2.3 from P and Q."""
    return -sum(float(a) * float(b) for a, b in zip(p, q, strict=True))


def mean_within(teacher: Floats, student: Floats) -> float:
    """METHOD 4.2: mean over ordered pairs of distinct crops."""
    if len(teacher) == 1:
        return soft_loss(teacher[0], student[0])
    pairs = itertools.permutations(range(len(teacher)), 2)
    losses = [soft_loss(teacher[i], student[k]) for i, k in pairs]
    return sum(losses) / len(losses)


def mean_between(
    teacher_a: Floats, student_a: Floats, teacher_b: Floats, student_b: Floats
) -> float:
    """METHOD 4.3: mean over all pairs between two sets, both directions averaged."""
    there, back = [], []
    for i in range(len(teacher_a)):
        for k in range(len(teacher_b)):
            there.append(soft_loss(teacher_a[i], student_b[k]))
            back.append(soft_loss(teacher_b[k], student_a[i]))
    return (sum(there) / len(there) + sum(back) / len(back)) / 2


def average_linkage(
    distance: Floats, cut: float, cannot_link: CannotLink, must_link: Sequence[tuple[int, int]] = ()
) -> I64:
    """Average linkage, one nearest pair at a time, from a full matrix of pairs with penalties.

    Among pairs of clusters at an equal distance, to 11 decimals, that of the lowest tracks merges.
    Tracks that must link are in one cluster from the start.
    """
    clusters = [[track] for track in range(len(distance))]
    for i, k in must_link:
        a, b = sorted((next(c for c in clusters if i in c), next(c for c in clusters if k in c)))
        if a is not b:
            clusters.remove(b)
            a.extend(b)
    for cluster in clusters:
        cluster.sort()
    clusters.sort()
    penalised = np.array(distance, float)
    for (i, k), penalty in zip(cannot_link.pairs, cannot_link.penalty, strict=True):
        penalised[i, k] += penalty
        penalised[k, i] += penalty
    while True:
        linkable = []
        for a, b in itertools.combinations(clusters, 2):
            pairs = list(itertools.product(a, b))
            mean = round(float(sum(penalised[i, k] for i, k in pairs)) / len(pairs), 11)
            if mean < cut:
                linkable.append((mean, a, b))
        if not linkable:
            break
        _, a, b = min(linkable)
        clusters.remove(b)
        a.extend(b)
    label = np.zeros(len(distance), int)
    for number, cluster in enumerate(sorted(clusters, key=min)):
        label[cluster] = number
    return label


def close(
    crop_outputs: Sequence[F64],
    centre: F64,
    teacher_temperature: float,
    student_temperature: float,
) -> I64:
    """METHOD 4.1-4.6 from the head outputs of each track's crops (each track with several)."""

    def between(a: F64, b: F64) -> float:
        return loss(a, b, centre, teacher_temperature, student_temperature)

    def mean(values: Iterable[float]) -> float:
        listed = list(values)
        return sum(listed) / len(listed)

    clusters = [[track] for track in range(len(crop_outputs))]
    while True:
        thresholds: list[float] = []
        shown: list[Sequence[F64] | F64] = []
        for cluster in clusters:
            crops = [crop for track in cluster for crop in crop_outputs[track]]
            thresholds.append(mean(between(a, b) for a, b in itertools.permutations(crops, 2)))
            means = [np.mean(crop_outputs[track], axis=0) for track in cluster]
            shown.append(crop_outputs[cluster[0]] if len(cluster) == 1 else means)
        parent = list(range(len(clusters)))
        changed = False
        for a, b in itertools.combinations(range(len(clusters)), 2):
            both = mean((between(x, y) + between(y, x)) / 2 for x in shown[a] for y in shown[b])
            if both < max(thresholds[a], thresholds[b]):
                changed = True
                parent = [parent[a] if p == parent[b] else p for p in parent]
        if not changed:
            break
        merged: dict[int, list[int]] = {}
        for cluster, root in zip(clusters, parent, strict=True):
            merged.setdefault(root, []).extend(cluster)
        clusters = list(merged.values())
    label = np.zeros(len(crop_outputs), int)
    for number, cluster in enumerate(sorted(clusters, key=min)):
        label[cluster] = number
    return label


def match_tracks(embeddings: Floats, track: I64, tail_fraction: float) -> set[tuple[int, int]]:
    """METHOD 2.5 in all dimensions, covariance pooled within tracks: the set of pairs i < j."""
    tracks = sorted(set(track.tolist()))
    means = {j: embeddings[track == j].mean(axis=0) for j in tracks}
    covariance = np.zeros((embeddings.shape[1],) * 2)
    for row, j in zip(embeddings, track, strict=True):
        covariance += np.outer(row - means[j], row - means[j])
    covariance /= len(embeddings) - len(tracks)
    inverse, determinant = np.linalg.inv(covariance), np.linalg.det(covariance)

    def density(row: Floats, j: int) -> float:
        far = (row - means[j]) @ inverse @ (row - means[j])
        return math.exp(-far / 2) / math.sqrt((2 * math.pi) ** len(row) * determinant)

    found = set()
    for j in tracks:
        own = sorted(density(row, j) for row in embeddings[track == j])
        lowest = own[: max(1, math.ceil(tail_fraction * len(own)))]
        threshold = sum(lowest) / len(lowest)
        for i in tracks:
            if i != j and density(means[i], j) >= threshold:
                found.add((min(i, j), max(i, j)))
    return found


def crop_quality(repeats: Floats) -> float:
    """METHOD 3.1 for one crop: (r, d) embeddings."""
    units = [row / math.sqrt(sum(value * value for value in row)) for row in repeats]
    distances = [
        math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)))
        for x, y in itertools.combinations(units, 2)
    ]
    return 2 / (1 + math.exp(sum(distances) / len(distances)))


def purity(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> float:
    """METHOD 5, WCP: each cluster's tracks of its most frequent identity, over all tracks."""
    total = 0
    for cluster in set(predicted):
        inside = [t for t, p in zip(truth, predicted, strict=True) if p == cluster]
        total += max(inside.count(identity) for identity in set(inside))
    return total / len(truth)


def bcubed(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> tuple[float, float]:
    """METHOD 5, B-cubed precision and recall: means over the tracks."""
    precision = recall = 0.0
    for i in range(len(truth)):
        beside = [k for k in range(len(truth)) if predicted[k] == predicted[i]]
        alike = [k for k in range(len(truth)) if truth[k] == truth[i]]
        both = len(set(beside) & set(alike))
        precision += both / len(beside) / len(truth)
        recall += both / len(alike) / len(truth)
    return precision, recall


def mutual_information(truth: Sequence[Hashable], predicted: Sequence[Hashable]) -> float:
    """METHOD 5, NMI with the arithmetic mean of the entropies."""

    def entropy(labels: Sequence[Hashable]) -> float:
        parts = [labels.count(value) / len(labels) for value in set(labels)]
        return -sum(part * math.log(part) for part in parts)

    truth, predicted = list(truth), list(predicted)
    joint = entropy(list(zip(truth, predicted, strict=True)))
    mean = (entropy(truth) + entropy(predicted)) / 2
    return 1.0 if mean == 0 else (entropy(truth) + entropy(predicted) - joint) / mean


def cosines_of_pairs(
    embeddings: Floats, identity: Sequence[int] | I64
) -> tuple[list[float], list[float]]:
    """Cosines of the pairs of one person, and of the pairs of two."""
    same: list[float] = []
    different: list[float] = []
    for i, j in itertools.combinations(range(len(embeddings)), 2):
        a, b = embeddings[i], embeddings[j]
        cosine = float(a @ b) / (math.sqrt(float(a @ a)) * math.sqrt(float(b @ b)))
        (same if identity[i] == identity[j] else different).append(cosine)
    return same, different


def accepted_at(embeddings: Floats, identity: Sequence[int] | I64, rate: float) -> float | None:
    """TAR at FAR: the fraction of same pairs over the first different pair that is refused."""
    same, different = cosines_of_pairs(embeddings, identity)
    wrong = int(rate * len(different))
    if not same or not wrong:
        return None
    limit = sorted(different, reverse=True)[wrong]
    return sum(cosine > limit for cosine in same) / len(same)


def separation(embeddings: Floats, identity: Sequence[int] | I64, person: int) -> float:
    """How far one person's pairs lie above those with others, over the common deviation."""
    same: list[float] = []
    different: list[float] = []
    for i, j in itertools.combinations(range(len(embeddings)), 2):
        own = [identity[i], identity[j]].count(person)
        cosine = cosines_of_pairs(embeddings[[i, j]], [0, 0])[0][0]
        if own:
            (same if own == 2 else different).append(cosine)
    variances = [float(np.var(cosines)) for cosines in (same, different)]
    return (sum(same) / len(same) - sum(different) / len(different)) / math.sqrt(sum(variances) / 2)


def pairs_in_time(found: Sequence[float], true: Sequence[float], tolerance: float) -> int:
    """The largest number of pairs within a tolerance, each time in one pair: tries all."""
    if not found:
        return 0
    without = pairs_in_time(found[1:], true, tolerance)
    partners = [n for n, time in enumerate(true) if abs(time - found[0]) <= tolerance]
    tried = [pairs_in_time(found[1:], [*true[:n], *true[n + 1 :]], tolerance) for n in partners]
    return max([without, *(1 + more for more in tried)])


def overlap(a: Row, b: Row) -> float:
    """The intersection over union of two boxes x0 y0 x1 y1 that are not empty."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)]
    return width * height / (sum(areas) - width * height)


def box_at(seconds: Sequence[float], boxes: Sequence[Row], time: float) -> list[float]:
    """The box of a face at a time, from its boxes at other times, in order."""
    if time <= seconds[0]:
        return list(boxes[0])
    for (early, a), (late, b) in itertools.pairwise(zip(seconds, boxes, strict=True)):
        if early <= time <= late:
            part = (time - early) / (late - early)
            return [u + part * (v - u) for u, v in zip(a, b, strict=True)]
    return list(boxes[-1])


def frame_of_label(label: float, labels: Sequence[float], frames: Sequence[float]) -> int:
    """The frame nearest to a label among those to which no other label is nearer; -1: none."""
    own = [
        n
        for n, time in enumerate(frames)
        if all(abs(time - label) <= abs(time - other) for other in labels)
    ]
    return min(own, key=lambda n: abs(frames[n] - label), default=-1)


def recognisability(prior: FacePrior, score: float, length: float, stability: float) -> float:
    """How much of one face's identity its embedding holds: a logistic function of three cues."""
    if math.isnan(score):
        score = prior.min_score
    logit = prior.intercept
    logit += prior.per_score * score + prior.per_length * length + prior.per_stability * stability
    return 1 / (1 + math.exp(-logit))


def run_cosines(rows: Floats, weight: Floats, least: int) -> dict[tuple[int, int], float]:
    """The cosine of the means of each run of crops and of all others, by start and end."""
    count, result = len(rows), {}
    for start, end in itertools.combinations(range(count + 1), 2):
        sizes = (start, end - start, count - end)
        outside = count - (end - start)
        if any(0 < size < least for size in sizes) or outside < least:
            continue
        run = sum(weight[i] * rows[i] for i in range(start, end))
        rest = sum(weight[i] * rows[i] for i in range(count) if not start <= i < end)
        result[start, end] = float(run @ rest / (np.linalg.norm(run) * np.linalg.norm(rest)))
    return result


def stranger_limit(distance: Floats, fewest: int, deviations: float) -> float:
    """The distance of clusters that strangers hardly ever come below, from all pairs."""
    values = sorted(
        float(distance[i, k]) for i, k in itertools.combinations(range(len(distance)), 2)
    )
    if len(distance) < fewest:
        return math.inf
    half = len(values) // 2
    median = values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2
    far = [value - median for value in values if value >= median]
    return median - deviations * math.sqrt(sum(value**2 for value in far) / len(far))


def join_centroids(
    label: I64,
    rows: Floats,
    offset: float,
    weight: Floats,
    cannot_link: CannotLink,
    limits: tuple[float, int, float],
) -> I64:
    """Centroids of clusters, merged by average linkage, until none are below the cut.

    `limits` are the cut, and the other two of `stranger_limit`.
    """
    cut, fewest, deviations = limits
    while True:
        count = int(label.max(initial=-1)) + 1
        means = np.zeros((count, rows.shape[1]))
        for track, row in enumerate(rows):
            means[label[track]] += weight[track] * row
        for mean in means:
            mean *= math.sqrt(offset) / math.sqrt(float(mean @ mean))
        distance = offset - means @ means.T
        pairs, penalties = [], []
        for (i, k), penalty in zip(cannot_link.pairs, cannot_link.penalty, strict=True):
            a, b = int(label[i]), int(label[k])
            if a != b:
                pairs.append((a, b))
                penalties.append(penalty / ((label == a).sum() * (label == b).sum()))
        between = CannotLink(np.array(pairs, int).reshape(-1, 2), np.array(penalties))
        limit = min(cut, stranger_limit(distance, fewest, deviations))
        joined = average_linkage(distance, limit, between)
        if len(set(joined.tolist())) == count:
            return label
        label = joined[label]


def shrink_changes(rows: F64, changes: list[F64], inside: float) -> F64:
    """Relevant component analysis: rows (n, d) times (1 + C / inside)^-1/2, as unit vectors.

    C is the mean, over people, of the covariance of their sides: of changes (s, d), the sum of the
    outer products of each with itself.
    """
    covariance = np.zeros((rows.shape[1], rows.shape[1]))
    for person in changes:
        for change in person:
            covariance += np.outer(change, change) / len(changes)
    spread = np.eye(rows.shape[1]) + covariance / inside
    shrunk = [np.linalg.inv(linalg.sqrtm(spread)) @ row for row in rows]
    return np.array([row / np.linalg.norm(row) for row in shrunk])
