"""The lifecycles of replug as data: vocabulary, tables, their checks, and the runtime.

Everything here is pure: no I/O, no clock, no randomness, no asyncio. Start with `states.py` (what
there is to be in), `events.py` (what can happen), `tables/` (what then follows) and `system.py`
(how the machines of one VM hang together). `runtime.py` makes the tables run.
"""
