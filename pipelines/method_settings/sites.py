"""Settings of the estimates of single sites and their pooling: `[effects.sites]`."""

from typing import Literal

from pydantic import Field

from pipelines.method_settings.section import Section


class SiteSettings(Section):
    """The primary outcome's effect in each site, on the primary design, and what the sites say together. The sites must
    be matched or weighted exactly, so that each compares people of its own."""

    by: str | None = Field(
        None, min_length=1, description="The column that names the site, one of `design.exact`; else nothing is done"
    )
    method: Literal["weighted_difference", "g_computation", "adjusted_regression", "aipw", "tmle"] = Field(
        "weighted_difference", description="Effect method, run in each site by itself"
    )
    scale: Literal["difference", "ratio"] = Field(
        "difference", description="What is pooled: differences, or the logs of ratios"
    )
    min_treated: int = Field(10, ge=2, description="Treated people of the design that a site of its own needs")
    min_controls: int = Field(10, ge=2, description="Controls of the design that it needs")
    small_sites: Literal["together", "left_out"] = Field(
        "together", description="together: sites with fewer people count as one; left_out: they are left out"
    )
