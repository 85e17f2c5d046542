"""Performance, each headline figure beside a rival in the same run.

`python -m benchmarks.runtime` is what a joint step of the tables costs, beside a bare trigger of
`transitions`. Rounds of both are interleaved and medians printed; nothing here is a test.
"""
