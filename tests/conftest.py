"""Settings that every test shares.

Hypothesis runs without randomness and without a deadline: a busy machine gives the same verdict as
an idle one, and what is found can be replayed from the blob that is printed. Look for new examples
with `pytest --hypothesis-profile=explore`.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("ci")
