"""Performance, each headline figure beside a rival in the same run.

`python -m benchmarks.runtime` is what a joint step of the tables costs, beside a bare trigger of
`transitions`; `python -m benchmarks.simulation` how many whole migrations a second one processor
simulates, beside the clock; `python -m benchmarks.checker` how many states a second are checked,
beside Spin and a plain search; `python -m benchmarks.dirty` what finding written pages costs by the
kernel, beside a bitmap. Medians of several rounds are printed; nothing here is a test.
"""
