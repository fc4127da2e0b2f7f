"""How hard the laws are tried."""

from hypothesis import settings

# A busy machine is no counterexample, and people run these all day.
settings.register_profile("all day", max_examples=50, deadline=None)
settings.load_profile("all day")
