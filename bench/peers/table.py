"""What the peers know of the contacts: which columns they read as numbers, and how they report."""

import json

NUMBERS = ("RecordNumber", "UniqMonthID", "ClinContDurOfCareCont")
TEXTS = ("Person_ID", "OrgIDProv", "UniqServReqID", "UniqCareContID", "AttendOrDNACode", "ConsMechanismMH")


def said(seconds: float, version: str) -> None:
    """Seconds of the work itself: starting Python and importing libraries is left out for everybody."""
    print(json.dumps({"seconds": seconds, "version": version}))
