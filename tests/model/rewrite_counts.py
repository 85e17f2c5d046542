"""Write `counts.json` anew: `python -m tests.model.rewrite_counts`, then read the difference."""

from __future__ import annotations

import json

from statemachines.policies import VALUATIONS
from tests.model.test_check import COUNTS, counted, whole

if __name__ == "__main__":
    pinned = {
        size: {profile: counted(whole(profile, small=small)) for profile in VALUATIONS}
        for size, small in (("small", True), ("whole", False))
    }
    COUNTS.write_text(json.dumps(pinned, indent=1) + "\n", encoding="utf-8")
