"""Events by row and day are checked and cut at the horizon: what the methods for repeated events work on.

Within a day events come first, then death, then censoring: a readmission on the day of death counts, and somebody
censored on a day was at risk of all that happened on it.
"""

from dataclasses import dataclass

import numpy as np

from models.refusals import Refused
from models.results import Baseline, BoolArray, Design, FloatArray, IntArray
from models.times.censoring import CensoringWeights, censoring_weights
from models.times.events import CENSORED, DIED


@dataclass(frozen=True)
class Histories:
    """row, day  (m,) of the events of rows in the design, up to the horizon
    last_day    (n,) last day under observation, at most the horizon; 0 outside the design
    died        (n,) whether observation ended with death, by the horizon"""

    row: IntArray
    day: FloatArray
    last_day: FloatArray
    died: BoolArray


def histories_in_design(
    event_row: IntArray, event_day: FloatArray, last_day: FloatArray, died: BoolArray, design: Design, horizon: int
) -> Histories:
    """Raises ValueError: wrong shapes, a day not above 0, an event after its row's last day. Refused: an empty arm."""
    n = design.weights.size
    if horizon <= 0:
        raise ValueError(f"horizon must be positive, not {horizon}")
    if last_day.shape != (n,) or died.shape != (n,) or event_row.shape != event_day.shape:
        raise ValueError("last_day and died need a value for each row of the design, event_day one for each event_row")
    if event_row.size and not (event_row.min() >= 0 and event_row.max() < n):
        raise ValueError("event_row names rows that the design does not have")
    inside = design.weights > 0
    if any(not (inside & arm).any() for arm in (design.treated, ~design.treated)):
        raise Refused("the design has no row with a positive weight in one of its arms")
    if not (last_day[inside] > 0).all():
        raise ValueError("every row of the design needs a last day above 0")
    used = inside[event_row]
    row, day = event_row[used], event_day[used]
    if not (day > 0).all() or not (day <= last_day[row]).all():
        raise ValueError("every event needs a day above 0, and none may come after the last day of its row")
    within = day <= horizon
    return Histories(
        row=row[within],
        day=day[within].astype(np.float64),
        last_day=np.where(inside, np.minimum(last_day, horizon), 0.0),
        died=inside & died & (last_day <= horizon),
    )


def weights_of_histories(
    histories: Histories, baseline: Baseline, design: Design, horizon: int, l2_penalty: float, largest: float
) -> CensoringWeights:
    """Weights for observation that ended before death and before the horizon. Raises ValueError without any."""
    event = np.where(histories.died, DIED, CENSORED).astype(np.int64)
    last = np.where(design.weights > 0, histories.last_day, float(horizon))
    return censoring_weights(last, event, baseline.matrix, design, horizon, l2_penalty=l2_penalty, largest=largest)
