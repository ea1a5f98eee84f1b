"""How property tests run here, and what no test takes over from whoever runs it."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

# No deadline, and none for making examples either: their time says nothing on a busy machine. Nor is it a failure where
# chance throws away many of the first ones. No explanations: they take minutes.
settings.register_profile(
    "unit",
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("unit")

# How a terminal is, and what colours somebody likes, is not to be seen in what is printed here.
for name in ("COLUMNS", "FORCE_COLOR", "NO_COLOR", "TERM"):
    os.environ.pop(name, None)
