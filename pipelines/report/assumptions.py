"""A protocol becomes the report's assumptions and limits in plain words."""

from pipelines.estimate.collected import REGRESSIONS
from pipelines.protocol import Protocol, weighing_the_unobserved
from pipelines.report.wording import label, mid, specification_label

_OF_MISSING = {
    "indicator": "Filled with the mean and flagged ({names}): assumes that a value not recorded influenced who "
    "took part or the outcome only through its being missing (Blake et al. 2020, Stat Med 39:814). Where that is not "
    "so, confounding remains that no balance figure shows: with a third of a strong confounder missing, half of its "
    "confounding remained in a simulation (bias 0.30 of 0.58), and 95 % intervals covered the truth in 22.5 % of 200 "
    "worlds.",
    "median": "Filled with the median as if measured ({names}): assumes that those missing are like the middle of the "
    "others.",
    "complete_case": "Rows without a value left ({names}): the answer speaks for people with complete records, and "
    "assumes that being complete does not depend on the outcome, given arm and covariates.",
    "multiple_imputation": "Imputed {copies} times given arm and the other covariates, never the outcome ({names}): "
    "assumes that values are missing at random given those. As outcomes were kept out, imputed values are less related "
    "to them than the real ones: with a third of a strong confounder missing, two fifths of its confounding remained "
    "in a simulation (bias 0.23 of 0.58), and 95 % intervals covered the truth in 66.5 % of 200 worlds; with outcomes "
    "among the predictors it would have been 0.02 and 96 %.",
    "refuse": "",
}


_WITH_OUTCOME = (
    "For {methods} they were drawn again with the outcome among the predictors, while the design stayed as it was: "
    "assumes that values are missing at random given the outcome as well, and that those regressions are right. In the "
    "same worlds that left a bias of 0.02 and covered in 94.5 to 95.5 %; after matching, intervals are too wide."
)


def _missing_covariates(protocol: Protocol) -> list[tuple[str, str]]:
    """What each way of handling missing values assumes, with the covariates it is for: up to three are named."""
    chosen = protocol.covariates
    said = []
    for use, text in _OF_MISSING.items():
        named = chosen.named_with(use)  # type: ignore[arg-type]
        if use in ("indicator", "median"):
            named = [name for name in named if name in chosen.numeric]
        if named and text:
            listed = ", ".join(mid(label(name)) for name in named)
            some = f"{len(named)} covariates" if len(named) > 3 else listed
            said.append(text.format(names=some, copies=chosen.imputation.copies))
    regressions = [name for name in REGRESSIONS if name in protocol.effects.methods_by_name().values()]
    if regressions and chosen.named_with("multiple_imputation") and chosen.imputation.regressions == "with_outcome":
        said.append(_WITH_OUTCOME.format(methods=", ".join(mid(label(name)) for name in regressions)))
    return [("Missing covariates", " ".join(said))] if said else []


_NOT_YET_TREATED = (
    "Not yet treated",
    "Discharges of later participants before their allocation serve as controls: leaving them out would leave out "
    "people because they were readmitted. What follows such a discharge counts as it happened: the comparison is with "
    "no support at this discharge, and support later where it came. A first readmission comes before the support that "
    "began in it; counts over a whole window also hold time after support had begun.",
)


_MOVED_AWAY = (
    "Moving away",
    "Observation ends on the day on which the trust of the index stay closed a referral because the person had moved "
    "out of its area, whatever was seen of them later: those seen again are those who came back or were admitted, and "
    "keeping them for it would choose people by outcome. Curves and rates without weights for the end of observation, "
    "and outcomes of whole windows without weights for the unobserved, take movers to be like those of their group who "
    "stayed; with weights, like those who are also alike in the covariates. The dead cannot move any more, so that "
    "whole windows keep them more often than others, with weights or without: where many die or move, read the curves, "
    "which allow for it.",
)


_PERIODS = (
    "Observation periods",
    "Observation ends with the person’s observation period. People whose period ended are taken to be like those of "
    "their group who stayed in view, or, with weights, like those who are also alike in the covariates. Where a CDM "
    "ends a period with the person’s last record that is wrong: people are then in view for as long as something "
    "happens to them.",
)


def _unobserved_outcomes(protocol: Protocol) -> list[tuple[str, str]]:
    """What weights for outcomes not observed assume, where a specification has them."""
    named, weighing = protocol.effects.methods_by_name(), weighing_the_unobserved(protocol)
    if not weighing:
        return []
    methods = ", ".join(mid(specification_label(name, named)) for name in weighing)
    return [
        (
            "Outcomes not observed",
            f"For {methods} people whose outcome was observed stand for those of their group who are alike in the "
            "covariates and whose outcome was not; the effect is that in everybody of the design. It assumes that, "
            "given group and covariates, who was observed has nothing to do with the outcome (missing at random), and "
            "that nobody was sure not to be observed. Neither can be seen in the data. How many were not observed in "
            "each group, and the largest weight, is among the remarks of the methods.",
        )
    ]


def describe_assumptions(protocol: Protocol) -> list[dict[str, str]]:
    """The identifying assumptions in plain words: name, text."""
    rows = [
        (
            "No unmeasured confounding",
            "Given the covariates, who took part is unrelated to what would have happened without the intervention. "
            "It cannot be tested; the comparison with randomised controls, where there is one, is the best check.",
        ),
        ("Overlap", "Everybody in the comparison could have been in either group; see the overlap figure."),
        ("Consistency", "The intervention and usual care mean the same thing for everybody to whom they are ascribed."),
        ("No interference", "One person’s allocation does not change another person’s outcome."),
        *_missing_covariates(protocol),
        *_unobserved_outcomes(protocol),
        *([_MOVED_AWAY] if "moved_away" in protocol.follow_up.censor_at else []),
        *([_PERIODS] if "observation_period" in protocol.follow_up.censor_at else []),
        *([_NOT_YET_TREATED] if protocol.not_yet_treated else []),
        ("Honest records", "The records find events equally well in both groups; silence is not read as health."),
    ]
    return [{"name": name, "text": text} for name, text in rows]


def describe_limits(protocol: Protocol) -> list[str]:
    """What the design could not adjust for, whatever the results are."""
    participation = (
        "Participation itself: participants agreed to take part in a study, controls were never asked. People who "
        "agree may be more engaged or better supported in ways that no routine covariate captures."
    )
    if protocol.source.kind == "table":
        return [
            participation.replace("study, controls were never asked", "study; the controls come from elsewhere"),
            "Anything that is not a column of the table.",
        ]
    return [
        *(_cdm_limits(protocol) if protocol.source.kind == "omop" else []),
        participation,
        "Clinical judgement at recruitment, such as whether discharge was expected soon, and whatever else a "
        "clinician weighs at the bedside, is not in routine records.",
        "What controls received: candidates may have had peer support from a local service; routine records hold no "
        "reliable code for it.",
        "Psychosocial outcomes such as hope, stigma, social connection and the therapeutic relationship are not in "
        "routine data. They are not reported here and nothing is used in their place.",
        "Care outside the records: leaving the country, private care and providers that did not submit.",
    ]


def _cdm_limits(protocol: Protocol) -> list[str]:
    """What an OMOP CDM leaves open (DOMAIN D3, D4)."""
    unknown = (
        "The records come from an OMOP CDM, which holds no bed classes, legal status or missed appointments. The data "
        "end with its last observation period."
    )
    if "observation_period" not in protocol.follow_up.censor_at:
        unknown = unknown.removesuffix(".") + "; somebody whose own period ends earlier counts as observed until then."
    if protocol.source.stays == "any_inpatient":
        return ["This study follows any stay in hospital: where the page says psychiatric, read any.", unknown]
    found = (
        "Psychiatric stays were found by the kind of hospital, by specialty, or by the main diagnosis of an inpatient "
        "visit; the last takes in physical wards. The rule that found each stay is in the lake (spell.found_by_code)."
    )
    return [found, unknown]
