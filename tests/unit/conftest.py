"""How property tests run here."""

from __future__ import annotations

from hypothesis import Phase, settings

# No deadline: the time of one example says nothing on a busy machine. No explanations: they take minutes.
settings.register_profile(
    "unit", deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink], print_blob=True
)
settings.load_profile("unit")
