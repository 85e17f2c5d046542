"""A table as a Graphviz drawing: `dot -Tsvg` makes the picture.

How to read one: a box is a state with what it means; below the rule is what it takes without
leaving. A dot points at the initial state; a double frame means that nothing more need happen. An
arrow says EVENT [condition], in ‹› whose it is unless it is everybody's, then in small letters what
else takes place. An arrow that not every profile has is dashed. In SVG, pointing at an arrow shows
where its rules come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from textwrap import wrap

from statemachines.diagram.graph import Arrow, Edge, Graph, Node, lines_of
from statemachines.policies import VALUATIONS

MEANING_LETTERS_MAX = 30
LINE_LETTERS_MAX = 38
CELL = '<TR><TD ALIGN="LEFT" BALIGN="LEFT">'
INDENT = "&#160;&#160;"
BREAK = '<BR ALIGN="LEFT"/>'
GREY = "#5f6368"
#: Profiles in the order of `VALUATIONS`, then everything else.
COLOURS = ("#1a5fb4", "#a34700", "#6b3fa0")

HEAD = """\
digraph {name} {{
  graph [label=<{title}>, labelloc=t, fontname="Helvetica", fontsize=12, rankdir=TB,
         nodesep=0.35, ranksep=0.55, pad=0.2];
  node [shape=box, style="rounded,filled", fillcolor="#fbfbf7", color="#3c4043",
        fontname="Helvetica", fontsize=11, margin="0.08,0.05"];
  edge [color="#3c4043", fontname="Helvetica", fontsize=9, arrowsize=0.7];
"""


def to_dot(graph: Graph) -> str:
    """Return a table's drawing as DOT text."""
    title = f"<B>{_text(graph.spec.name)}</B><BR/>{_wrapped(graph.spec.summary, 90)}<BR/> "
    parts = [HEAD.format(name=graph.spec.name, title=title)]
    parts += (_node(graph, node) for node in graph.nodes)
    initial = next(node for node in graph.nodes if node.is_initial)
    parts.append('  start [shape=point, width=0.14, fillcolor="#3c4043"];')
    parts.append(f"  start -> {_id(initial)};")
    parts += (_arrow(graph, arrow) for arrow in graph.arrows())
    parts += _legend(graph)
    return "\n".join((*parts, "}")) + "\n"


def _node(graph: Graph, node: Node) -> str:
    loops = graph.loops(node.state)
    meaning = _wrapped(node.meaning.replace("`", ""), MEANING_LETTERS_MAX)
    rows = [
        f"<TR><TD><B>{_text(node.label)}</B></TD></TR>",
        f'<TR><TD><FONT POINT-SIZE="9" COLOR="{GREY}">{meaning}</FONT></TD></TR>',
    ]
    if loops:
        rows.append('<HR/><TR><TD HEIGHT="3"></TD></TR>')
        rows += _rows(graph, loops)
    return (
        f"  {_id(node)} [peripheries={2 if node.is_final else 1},"
        f" tooltip={_quoted(_cites(loops) or node.label)},\n    label={_table(rows)}];"
    )


def _arrow(graph: Graph, arrow: Arrow) -> str:
    tooltip = _quoted(_cites(arrow.edges) or " ")
    attributes = [f"tooltip={tooltip}", f"labeltooltip={tooltip}"]
    before, after = graph.node(arrow.before), graph.node(arrow.after)
    # Where states are declared in the order of their life, the way back is no way down the page.
    is_ordered = graph.nodes[0].is_initial
    if is_ordered and graph.nodes.index(after) < graph.nodes.index(before):
        attributes.append("constraint=false")
    if not arrow.is_everywhere:
        marks = {line.mark for line in lines_of(arrow.edges)}
        attributes.append(f'style=dashed, color="{_colour(", ".join(sorted(marks)))}"')
    label = _table(_rows(graph, arrow.edges))
    return f"  {_id(before)} -> {_id(after)} [{', '.join(attributes)},\n    label={label}];"


def _table(rows: Iterable[str]) -> str:
    head = '<TABLE BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="1">'
    return f"<{head}{''.join(rows)}</TABLE>>"


def _rows(graph: Graph, edges: Iterable[Edge]) -> Iterator[str]:
    """Yield what an arrow or a box says, one row of an HTML-like table for each piece."""
    for line in lines_of(edges):
        words = ", ".join(event.name for event in line.events)
        condition = graph.condition_text(line)
        text = _wrapped(f"{words} [{condition}]" if condition else words, LINE_LETTERS_MAX, BREAK)
        if line.mark:
            text += f' <FONT COLOR="{_colour(line.mark)}"><I>‹{_text(line.mark)}›</I></FONT>'
        yield f'{CELL}<FONT POINT-SIZE="9">{text}</FONT></TD></TR>'
        effects = graph.effects_text(line)
        if effects:
            small = _wrapped(f"/ {effects}", LINE_LETTERS_MAX + 6, f"{BREAK}{INDENT}")
            yield f'{CELL}<FONT POINT-SIZE="8" COLOR="{GREY}">{INDENT}{small}</FONT></TD></TR>'


def _legend(graph: Graph) -> Iterator[str]:
    notes = [f"{symbol}  {text}" for symbol, text in graph.footnotes().items()]
    if any(not arrow.is_everywhere for arrow in graph.arrows()):
        notes.append("dashed: not in every profile")
    if notes:
        text = "".join(_wrapped(note, 60, f"{BREAK}     ") + BREAK for note in notes)
        yield f'  legend [shape=note, style=solid, color="{GREY}", fontsize=9, label=<{text}>];'


def _colour(mark: str) -> str:
    profiles = list(VALUATIONS)
    return COLOURS[profiles.index(mark) if mark in profiles[: len(COLOURS) - 1] else -1]


def _cites(edges: Iterable[Edge]) -> str:
    cites = dict.fromkeys(
        f"{edge.event.name}: {case.cite}" for edge in edges for case in edge.cases if case.cite
    )
    return "; ".join(cites)


def _id(node: Node) -> str:
    return _quoted(node.id)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _text(text: str) -> str:
    return escape(text, quote=True)


def _wrapped(text: str, letters_max: int, line_break: str = "<BR/>") -> str:
    lines = wrap(text, letters_max, break_long_words=False, break_on_hyphens=False)
    return line_break.join(_text(line) for line in lines)
