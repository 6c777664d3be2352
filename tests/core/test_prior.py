"""What a pack knows of faces before a title is seen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from tests import reference
from tests.helpers.core_data import PRIOR
from vcn_ray.core.prior import STRANGER_SDS, recognisability


def test_recognisability_equals_its_literal_twin() -> None:
    rng = np.random.default_rng(0)
    score, length, stability = rng.random((3, 20)) * np.array([[1], [30], [1]])
    score[::4] = np.nan
    found = recognisability(PRIOR, score, length, stability)
    for row, value in enumerate(found):
        want = reference.recognisability(PRIOR, score[row], length[row], stability[row])
        assert value == pytest.approx(want, abs=1e-12)
    assert ((found > 0) & (found < 1)).all()


def test_more_of_each_cue_is_never_less_and_none_give_none() -> None:
    cues = np.array([[0.5, 10.0, 0.5]])
    usual = recognisability(PRIOR, *cues.T)[0]
    for cue in range(3):
        more = cues.copy()
        more[0, cue] *= 1.5
        assert recognisability(PRIOR, *more.T)[0] > usual
    assert recognisability(PRIOR, *np.zeros((3, 0))).shape == (0,)


def test_the_cut_lies_above_nearly_all_strangers() -> None:
    assert pytest.approx(1 - STRANGER_SDS * 0.09) == PRIOR.cut
    alike = replace(PRIOR, stranger_cosine=0.9, stranger_sd=0.1)  # strangers of no use
    assert alike.cut == pytest.approx(0.01)
    with pytest.raises(ValidationError, match="stranger_sd"):
        replace(PRIOR, stranger_sd=0.0)
