"""A table as a Mermaid `stateDiagram-v2`.

Mermaid draws no dashed transition, so whose an arrow's line is stands behind it, in ‹›. What a
state takes without leaving stands in its box. Rules of the notation that are kept here: an id is
a lower-case word; a text holds neither colon nor semicolon, which would end it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from statemachines.diagram.graph import Edge, Graph, Node, lines_of

INDENT = "    "
#: What ends a text or opens a tag, and what stands for it; `#` is first, as it is in the others.
_ENTITIES = {"#": "#35;", ":": "#58;", "<": "#60;", ">": "#62;", '"': "#34;"}


def to_mermaid(graph: Graph) -> str:
    """Return a table's drawing as Mermaid text."""
    lines = ["stateDiagram-v2", f"%% {graph.spec.name}: {graph.spec.summary}", "direction TB"]
    for node in graph.nodes:
        lines += _state(graph, node)
    initial = next(node for node in graph.nodes if node.is_initial)
    lines.append(f"[*] --> {initial.id}")
    for arrow in graph.arrows():
        before, after = graph.node(arrow.before), graph.node(arrow.after)
        lines.append(f"{before.id} --> {after.id} : {'<br/>'.join(_lines(graph, arrow.edges))}")
    lines += (f"{node.id} --> [*]" for node in graph.nodes if node.is_final)
    lines += _legend(graph, initial)
    first, *others = lines
    return "\n".join((first, *(INDENT + line for line in others))) + "\n"


def escaped(text: str) -> str:
    """Return a text in which nothing ends it or opens a tag."""
    plain = text.replace(";", ",")
    return "".join(_ENTITIES.get(letter, letter) for letter in plain)


def _state(graph: Graph, node: Node) -> Iterator[str]:
    yield f'state "{escaped(node.label)}" as {node.id}'
    yield f"{node.id} : {escaped(node.meaning.replace('`', ''))}"
    for line in _lines(graph, graph.loops(node.state)):
        yield f"{node.id} : {line}"


def _lines(graph: Graph, edges: Iterable[Edge]) -> Iterator[str]:
    for line in lines_of(edges):
        text = ", ".join(event.name for event in line.events)
        condition = graph.condition_text(line)
        if condition:
            text += f" [{condition}]"
        if line.mark:
            text += f" ‹{line.mark}›"
        effects = graph.effects_text(line)
        yield escaped(f"{text} / {effects}" if effects else text)


def _legend(graph: Graph, initial: Node) -> Iterator[str]:
    notes = graph.footnotes()
    if notes:
        yield f"note left of {initial.id}"
        yield from (f"{INDENT}{symbol} = {escaped(text)}" for symbol, text in notes.items())
        yield "end note"
