from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _as_many_epochs_as_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the settings alone say how many epochs a small title gets."""
    monkeypatch.setattr("vcn_ray.learn.rounds.MIN_STEPS", 1)
