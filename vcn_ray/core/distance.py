"""The learned loss as a distance between sets of crops, in closed form (METHOD 4).

With P = softmax((z - c) / tau_t) and Q = log softmax(z / tau_s) the loss of a pair is -<P, Q>,
which is bilinear, so a mean over pairs needs sums only. It does not know where outputs come
from, nor what is merged when.
"""

from __future__ import annotations

import numpy as np

from vcn_ray.core.vectors import (
    Floats,
    group_sums,
    log_softmax,
    softmax,
)
from vcn_ray.errors import ShapeError
from vcn_ray.records import F64, I64, SoftAssignments


def soft_assign(
    outputs: Floats, centre: Floats, teacher_temperature: float, student_temperature: float
) -> SoftAssignments:
    """Both sides of the loss for head outputs (METHOD 2.3).

    Args:
        outputs: (m, o) head outputs z.
        centre: (o,) running mean c of the teacher's outputs.
        teacher_temperature: tau_t, under tau_s: it sharpens.
        student_temperature: tau_s.

    Returns:
        P and Q, (m, o) float32.

    Raises:
        ShapeError: The centre is not as long as an output.
    """
    if outputs.ndim != 2 or outputs.shape[1:] != centre.shape:
        raise ShapeError(f"outputs (m, o) need a centre (o,), got {outputs.shape}, {centre.shape}")
    teacher = softmax((outputs.astype(np.float64) - centre) / teacher_temperature)
    student = log_softmax(outputs.astype(np.float64) / student_temperature)
    return SoftAssignments(teacher.astype(np.float32), student.astype(np.float32))


def mean_within(teacher: Floats, student: Floats) -> float:
    """Mean loss over ordered pairs of distinct crops of one set (METHOD 4.2).

    Args:
        teacher: (n, o) P of each crop.
        student: (n, o) Q of each crop.

    Returns:
        `-(<sum P, sum Q> - sum_i <P_i, Q_i>) / (n (n - 1))`; of one crop, which has no pair, its
        loss with itself.

    Raises:
        ShapeError: The two sides differ in shape, or there is no crop.
    """
    if not len(teacher):
        raise ShapeError("a set without crops has no mean loss")
    return float(mean_within_groups(teacher, student, np.zeros(len(teacher), np.int64), 1)[0])


def mean_within_groups(teacher: Floats, student: Floats, group: I64, groups: int) -> F64:
    """`mean_within` of every group of crops.

    Args:
        teacher: (m, o) P of each crop.
        student: (m, o) Q of each crop.
        group: (m,) number of each crop's group, for instance its track.
        groups: How many groups there are.

    Returns:
        (groups,) float64; 0 for a group without crops.

    Raises:
        ShapeError: Shapes do not belong together.
    """
    if teacher.shape != student.shape or teacher.ndim != 2:
        raise ShapeError(f"P and Q need one shape (m, o), got {teacher.shape}, {student.shape}")
    left, right = teacher.astype(np.float64), student.astype(np.float64)
    itself = group_sums(np.einsum("mo,mo->m", left, right), group, groups)
    sums = group_sums(left, group, groups), group_sums(right, group, groups)
    every = np.einsum("go,go->g", *sums)
    crops = np.bincount(group, minlength=groups)
    pairs = crops * (crops - 1)
    result: F64 = np.where(pairs > 0, (itself - every) / np.maximum(pairs, 1), -itself)
    return result + 0.0  # an empty group's -0.0 becomes 0.0
