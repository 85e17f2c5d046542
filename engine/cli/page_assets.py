"""The files that the explorer page is made of, read from the installed package.

Rules kept here: `statemachines.checker.page` is pure and says which files it needs; here they are
read, wherever the package is installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from statemachines.checker import page


def page_assets() -> Mapping[str, str]:
    """Return the text of each file that `page_of` asks for, by name."""
    folder = files(page)
    return {name: folder.joinpath(name).read_text("utf-8") for name in page.ASSETS}
