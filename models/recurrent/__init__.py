"""Effect methods for events that repeat, such as readmissions, until death or the end of observation."""

from models.recurrent.lin_wei_yang_ying import lwyy
from models.recurrent.mean_count import MeanCumulativeCount, mean_cumulative_count

__all__ = ["MeanCumulativeCount", "lwyy", "mean_cumulative_count"]
