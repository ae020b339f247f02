from ccat_models.pipeline.diff import ABSENT, Difference, differences, render_differences


def test_differences_read_as_one_line_each() -> None:
    old = {
        "steps": {"map": {"parameters": {"cell_arcsec": 6, "mode": "sky", "gone": [1], "odd key": 1}, "group_by": []}}
    }
    new = {
        "steps": {
            "map": {"parameters": {"cell_arcsec": 5, "mode": "true", "odd key": None}, "group_by": ["source"]},
            "grid": {"name": "grid"},
        },
        "empty": {},
    }
    assert render_differences(differences(old, new)).split("\n") == [
        "steps.map.parameters.cell_arcsec: 6 → 5",
        'steps.map.parameters.mode: sky → "true"',
        'steps.map.parameters."odd key": 1 → null',
        "- steps.map.parameters.gone: [1]",
        'steps.map.group_by: [] → ["source"]',
        "+ steps.grid",
        "+ empty: {}",
    ]


def test_null_is_not_nothing_and_a_number_not_its_float() -> None:
    assert differences({"a": None}, {}) == (Difference("a", None, ABSENT),)
    assert differences({"a": 1, "b": {"x": 1}}, {"a": 1.0, "b": 2}) == (
        Difference("a", 1, 1.0),
        Difference("b", {"x": 1}, 2),
    )
    assert differences({"a": {"y": 1, "x": [1]}}, {"a": {"x": [1], "y": 1}}) == ()
