from vcn_ray.run.summary import WARNINGS, explain_warning


def test_a_warning_is_a_code_and_a_sentence() -> None:
    assert explain_warning("collapsed") == {"code": "collapsed", "message": WARNINGS["collapsed"]}
    told = explain_warning("over_merging: 12% of the pairs of tracks in one frame look alike")
    assert told["code"] == "over_merging"
    assert told["message"] == "12% of the pairs of tracks in one frame look alike"
