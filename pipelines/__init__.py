"""The street: routine records in, a virtual control group, effect estimates and a releasable report out."""
