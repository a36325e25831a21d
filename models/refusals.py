"""The one way in which a method says that it will not answer.

Choice made: a refusal is a result, with words for an analyst, that the report prints in place of a number; every other
exception is a mistake of the program and ends the run. So a method raises `Refused` where these data do not carry the
answer (nobody comparable, no weights that balance, an arm without events, equations without a solution), and a plain
ValueError for arguments no protocol can lead to (another shape, an unknown option).
"""


class Refused(ValueError):  # noqa: N818 - an answer, not an error
    """The method cannot answer honestly on these data. Its words are printed as they are: no value of one person."""
