"""The equations from which weights were estimated, as far as the variance of what is made with them needs them."""

from dataclasses import dataclass

import numpy as np

from models.results import FloatArray, IntArray


@dataclass(frozen=True)
class ScoreModel:
    """Equations Σ residual × (group indicators, design row) = 0 that determined the weights.

    design_matrix      (n, q) standardised covariates, with an intercept or, where there are groups, centred in each so
                       that the equations of the groups and of the covariates do not mix
    residual           (n,) what a row contributes (treated minus score for a logistic regression), 0 for rows not used
    bread              (q, q) inverse of the (penalised) information
    weight_slope       (n,) derivative of each weight, before scaling, with respect to the row's linear predictor
    group              (n,) number of the row's group where every group has an intercept of its own, else None
    group_information  (n_groups,) information on those intercepts
    on_coefficients    (n, q) what each row does to the coefficients where several equations share them; else it is
                       residual × design row × bread
    """

    design_matrix: FloatArray
    residual: FloatArray
    bread: FloatArray
    weight_slope: FloatArray
    group: IntArray | None = None
    group_information: FloatArray | None = None
    on_coefficients: FloatArray | None = None

    def influence(self, pull: FloatArray) -> FloatArray:
        """(n, k) influence through the coefficients, from (n, k) derivatives with respect to the linear predictor."""
        if self.on_coefficients is not None:
            return np.asarray(self.on_coefficients @ (self.design_matrix.T @ pull))
        along = self.design_matrix @ (self.bread @ (self.design_matrix.T @ pull))
        if self.group is not None and self.group_information is not None:
            n_groups = len(self.group_information)
            sums = np.column_stack([np.bincount(self.group, weights=column, minlength=n_groups) for column in pull.T])
            known = self.group_information > 0
            per_group = np.where(known, self.group_information, 1.0)
            along += np.where(known[:, None], sums / per_group[:, None], 0.0)[self.group]
        return np.asarray(self.residual[:, None] * along)
