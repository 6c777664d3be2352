from __future__ import annotations

from vcn_ray.run.summary import WARNINGS, explain_warning, warning_text


def test_a_warning_is_a_code_and_a_message() -> None:
    message = WARNINGS["collapsed"].message
    assert explain_warning("collapsed") == {"code": "collapsed", "message": message}
    counted = explain_warning("over_merging: 12% of the pairs of tracks in one frame look alike")
    assert counted["code"] == "over_merging"
    assert counted["message"] == "12% of the pairs of tracks in one frame look alike"


def test_an_unknown_warning_is_still_readable() -> None:
    assert warning_text("odd_thing") == ("Please note: odd thing", "odd_thing")
