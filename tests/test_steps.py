from __future__ import annotations

import pytest

from vcn_ray.config import RunConfig
from vcn_ray.steps import STAGES, Scope, Stage, run_stages

GIVEN = {
    Scope.SEGMENT: {"source", "segment", "pack"},
    Scope.VIDEO: {"video_id", "segments", "displayed_width"},
    Scope.ADAPT: {"title", "encoder", "hooks"},
    Scope.TITLE: {"title", "outputs", "videos"},
}


@pytest.mark.parametrize("scope", list(Scope))
def test_each_stage_needs_only_what_came_before(scope: Scope) -> None:
    known = GIVEN[scope] | {"config"}
    for stage in (s for s in STAGES if s.scope is scope):
        assert set(stage.needs) <= known, stage.name
        assert stage.name not in known
        known.add(stage.name)


def test_scopes_follow_one_another() -> None:
    order = list(dict.fromkeys(stage.scope for stage in STAGES))
    assert order == list(Scope)


def test_stages_run_in_order_on_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = (
        Stage("double", Scope.VIDEO, ("x",), lambda x: 2 * x),
        Stage("other", Scope.TITLE, ("nothing",), lambda x: x),
        Stage("sum", Scope.VIDEO, ("double", "x", "config"), lambda d, x, c: d + x + c.seed),
    )
    monkeypatch.setattr("vcn_ray.steps.STAGES", stages)
    known = run_stages(Scope.VIDEO, {"x": 3}, RunConfig(seed=1))
    assert (known["double"], known["sum"]) == (6, 10)
    assert "other" not in known
