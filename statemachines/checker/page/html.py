"""One self-contained HTML page: rules, stories, stepper and view, nothing from elsewhere.

Rules kept here: the page asks the network for nothing, and its policy forbids it to. What is
embedded cannot end the element that it stands in.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from statemachines.checker.explore import Explorer
from statemachines.checker.page.rules import rules_of
from statemachines.checker.page.stories import Json, Story

#: The files beside this module that a page is made of; `page_of` is given their texts by name.
ASSETS = ("page.html", "page.css", "stepper.js", "layout.js", "view.js")


def page_of(
    explorer: Explorer, stories: Iterable[Story], assets: Mapping[str, str], title: str
) -> str:
    """Return the page of one system.

    :param explorer: the system; it need not have been explored.
    :param stories: the traces to step through; the first is shown first. There may be none.
    :param assets: file name -> text, for each of `ASSETS`.
    :param title: what the page is about, such as topology and profile.
    :raise KeyError: if an asset is missing.
    """
    return page_of_rules(rules_of(explorer), stories, assets, title)


def page_of_rules(
    rules: Json, stories: Iterable[Story], assets: Mapping[str, str], title: str
) -> str:
    """Return the page of a system whose rules are given; else as `page_of`."""
    data = {
        "title": title,
        "rules": rules,
        "stories": [story.as_json() for story in stories],
    }
    page = assets["page.html"]
    page = page.replace("{{title}}", _text(title))
    page = page.replace("{{page.css}}", assets["page.css"])
    for name in ("stepper.js", "layout.js", "view.js"):
        page = page.replace(f"{{{{{name}}}}}", assets[name])
    return page.replace("{{data}}", embedded(data))


def embedded(data: object) -> str:
    """Return data as JSON that may stand in a script element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
