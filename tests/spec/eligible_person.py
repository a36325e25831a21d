"""Somebody who passes every rule, for the tests of what may still go wrong and of what happens afterwards."""

from typing import Any

# An adult acute stay from 1 to 31 March 2017, inside the recruitment window (December 2016 to February 2019), and an
# earlier one before it. Day 365 after the index date is 31 March 2018.
ELIGIBLE = """
    spell   start       end         ward  provider
    prior   2016-11-01  2016-11-20  10    RAA
    index   2017-03-01  2017-03-31  10    RAA
"""

# Later stays lie within the recruitment window themselves: only the first eligible discharge is to be followed.
FIRST: dict[str, Any] = {"eligibility": {"candidate_discharges": "first"}}


def readmitted(start: str, end: str, ward: str = "10", provider: str = "RAA") -> str:
    """The eligible person with a third stay."""
    return f"{ELIGIBLE.rstrip()}\n    again   {start}  {end}  {ward}  {provider}"
