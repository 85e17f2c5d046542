"""The tables as pictures and pages for review: Mermaid, Graphviz DOT and Markdown.

What may live here: functions from a table, or from a run of the tables, to text. Nothing here
writes a file, starts a program or decides a transition.

Rules kept here:
1. A picture is derived from the tables and from nothing else: no layout by hand, no second list of
   states, no order that changes from run to run.
2. Everything that a table says is in its Markdown page, cell by cell; its drawings show all rows.
3. What only some profiles do is marked as theirs wherever it is shown.
4. `doc_comments.py` is the one place that reads something besides its arguments: the source text
   of the vocabulary's own modules, which holds what a state or a command means.

Start with `graph.py` (what is drawn), `export.py` (which files there are).
"""
