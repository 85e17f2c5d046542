"""Copy the migration diagram into README.md, between its own fences."""

from __future__ import annotations

import re
from pathlib import Path


def main() -> None:
    """Replace the README's Mermaid block by the exported one."""
    root = Path(__file__).parents[1]
    diagram = (root / "diagrams" / "migration.mmd").read_text(encoding="utf-8")
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    block = f"```mermaid\n{diagram}```"
    changed = re.sub(r"```mermaid\n.*?```", lambda _: block, text, count=1, flags=re.DOTALL)
    readme.write_text(changed, encoding="utf-8")


if __name__ == "__main__":
    main()
