"""Performance, each headline figure beside a rival in the same run.

`python -m benchmarks.runtime` is what a joint step of the tables costs, beside a bare trigger of
`transitions`; `python -m benchmarks.checker` is the checker's states per second, beside Spin's and
a plain search's. Rounds of both are interleaved and medians printed; nothing here is a test.
"""
