"""The explorer page: one HTML file that steps two VMs through a trace, and freely from there.

What may live here: the ground rules and the traces as JSON (`rules.py`, `stories.py`), journals as
the same (`journal_system.py`, `journal_story.py`), the stepper that executes them and the view that
draws them (`stepper.js`, `layout.js`, `view.js`), and what puts them into one page. Nothing here
reads a file: who writes the page hands the assets in.
"""

from __future__ import annotations

from statemachines.checker.page.html import ASSETS, page_of
from statemachines.checker.page.journal_story import Telling, page_of_journals
from statemachines.checker.page.stories import (
    Story,
    codes_of_events,
    followed,
    story_of,
    story_of_codes,
    story_of_property,
)

__all__ = [
    "ASSETS",
    "Story",
    "Telling",
    "codes_of_events",
    "followed",
    "page_of",
    "page_of_journals",
    "story_of",
    "story_of_codes",
    "story_of_property",
]
