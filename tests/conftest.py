"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# The same examples in every run: what a change broke fails, and nothing else. New examples are
# looked for by hand: HYPOTHESIS_PROFILE=default pytest, and tests/fuzz.
settings.register_profile("fixed", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))
