"""A design → what else must be known of it before its effects are believed: of scores, products of covariates, who is
left out, and what the comparison could detect. One file a question; none but `prognostic` sees an outcome."""

from models.diagnostics.detectable import Detectable, effective_number_of_people, minimum_detectable
from models.diagnostics.generalisability import Generalisability, LeftOutRow, measure_generalisability
from models.diagnostics.population import Population, measure_population, share_kept
from models.diagnostics.products import ProductBalance, ProductRow, measure_products
from models.diagnostics.prognostic import PrognosticScore, fit_prognostic_score, measure_prognostic_balance
from models.diagnostics.scores import ScoreDiagnostics, measure_scores, weighted_c_statistic

__all__ = [
    "Detectable",
    "Generalisability",
    "LeftOutRow",
    "Population",
    "ProductBalance",
    "ProductRow",
    "PrognosticScore",
    "ScoreDiagnostics",
    "effective_number_of_people",
    "fit_prognostic_score",
    "measure_generalisability",
    "measure_population",
    "measure_products",
    "measure_prognostic_balance",
    "measure_scores",
    "minimum_detectable",
    "share_kept",
    "weighted_c_statistic",
]
