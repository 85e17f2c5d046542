"""The `#:` comments of the vocabulary: what a state, a command or a named condition means.

These comments are written once, beside the member they explain, and are not part of the running
program. Here they are read from the source text of modules that are imported already, by the
loader that imported them (`inspect.getsource`, so an installation without sources is told so).
That is the only reading in this layer, it depends on no argument and no surroundings, and its
answer is as fixed as the tables themselves.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from types import MappingProxyType, ModuleType

MARK = "#:"


class SourceMissingError(LookupError):
    """The source text that holds the comments is not installed."""


def comments_in(text: str) -> dict[str, str]:
    """Return the `#:` comments of a module's source, by the name they stand above.

    Names are `NAME` for what a module assigns and `Class.NAME` for what a class body assigns;
    lines of one comment are joined by blanks. Names without a comment are left out.
    """
    lines = text.splitlines()
    found = {}
    for name, line in _assignments(ast.parse(text), ""):
        comment: list[str] = []
        above = line - 2
        while above >= 0 and lines[above].strip().startswith(MARK):
            comment.insert(0, lines[above].strip().removeprefix(MARK).strip())
            above -= 1
        if comment:
            found[name] = " ".join(comment)
    return found


def _assignments(body: ast.Module | ast.ClassDef, prefix: str) -> Iterator[tuple[str, int]]:
    for node in body.body:
        match node:
            case ast.ClassDef(name=name):
                yield from _assignments(node, f"{prefix}{name}.")
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                yield f"{prefix}{name}", node.lineno


@cache
def comments_of(module: ModuleType) -> Mapping[str, str]:
    """Return the `#:` comments of an imported module, as `comments_in` names them.

    :raise SourceMissingError: if the module was installed without its source.
    """
    try:
        text = inspect.getsource(module)
    except OSError as error:
        raise SourceMissingError(
            f"the meanings printed in diagrams are comments in {module.__name__}, whose source "
            "is not installed: install replug with its .py files"
        ) from error
    return MappingProxyType(comments_in(text))


def meaning_of(member: Enum, module: ModuleType) -> str:
    """Return the `#:` comment above an Enum's member; empty if there is none."""
    return comments_of(module).get(f"{type(member).__name__}.{member.name}", "")
