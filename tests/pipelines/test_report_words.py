"""Remarks and rules in the words of the page."""

import pytest

from pipelines.report.page import gather_remarks
from pipelines.report.wording import question


def test_a_remark_stands_once_with_where_it_was_made() -> None:
    places = [
        ("a", "d", "m", "x"),
        ("a", "d", "m", "y"),
        ("b", "d", "m", "x"),
        ("b", "d", "m", "y"),
        ("b", "e", "m", "x"),
    ]
    notes = [dict(zip(("contrast", "design", "method", "outcome"), place, strict=True), note="n.") for place in places]
    assert gather_remarks([*notes, {"contrast": "a", "note": "other"}]) == [
        {
            "note": "n",
            "places": [
                {"design": "d", "method": "m", "outcomes": ("x", "y"), "contrasts": ["a", "b"]},
                {"design": "e", "method": "m", "outcomes": ("x",), "contrasts": ["b"]},
            ],
        },
        {"note": "other", "places": [{"design": None, "method": None, "outcomes": (), "contrasts": ["a"]}]},
    ]


@pytest.mark.parametrize(
    ("covariate", "sign", "threshold", "words"),
    [
        ("age_years", "at most", 41.4, "Age, years at most 41.4"),
        ("is_detained_on_admission", "at most", 0.5, "Detained on admission: no"),
        ("is_detained_on_admission", "above", 0.5, "Detained on admission: yes"),
        ("trust = ZC4", "at most", 0.5, "NHS trust: not ZC4"),
        ("trust = ZC4", "above", 0.5, "NHS trust: ZC4"),
        ("honos_total missing", "above", 0.5, "HoNOS total, missing: yes"),
        ("n_dna_365d_before", "above", 0.5, "Missed appointments, 365 days before above 0.50"),
    ],
)
def test_a_question_about_an_indicator_is_asked_in_words(
    covariate: str, sign: str, threshold: float, words: str
) -> None:
    assert question({"covariate": covariate, "sign": sign, "threshold": threshold}) == words
