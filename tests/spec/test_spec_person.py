"""What is known of a person over all months (DOMAIN K15). The slow reference has no covariates: pipeline only.

The other halves of K15 are tested where they happen: the row's own id or RecordNumber with the sources, the date of
death in test_spec_observation.py.
"""

import pytest

from tests.spec.eligible_person import ELIGIBLE  # index date 31 March 2017
from tests.spec.text_tables import write_world


@pytest.mark.parametrize(
    ("letters", "group"),
    [
        ("A B B", "white"),
        ("M A M", "black"),
        ("P Z Z 99", "black"),  # not stated and not known are no valid letters
        ("E N N", "black"),
        ("E E N", "mixed"),
        ("R T", "other"),
        ("J", "asian"),
        ("Z 99 -", "unknown"),
    ],
)
def test_k15_ethnicity_is_the_most_frequent_valid_letter(letters: str, group: str) -> None:
    months = "month ethnicity_code"
    for number, letter in enumerate(letters.split(), start=1):
        months += f"\n2017-{number:02} {letter}"
    baseline = write_world(ELIGIBLE, person_month=months).people().baseline
    assert baseline["ethnic_group"].to_list() == [group]


def test_k15_ethnicity_is_taken_from_all_months_also_later_ones() -> None:
    later = """
        month    ethnicity_code
        2017-03  A
        2017-06  N
        2018-06  N
    """
    only_later = """
        month    ethnicity_code
        2017-06  N
    """
    for months in (later, only_later):
        baseline = write_world(ELIGIBLE, person_month=months).people().baseline
        assert baseline["ethnic_group"].to_list() == ["black"]
