"""Thresholds that whoever is left of a design meets, for tests of what is estimated in them."""

from pipelines.method_settings.acceptance import Acceptance

WHOEVER_IS_LEFT = Acceptance(max_abs_smd=1e9, min_effective_controls=0.0, max_share_unobserved=1.0)
