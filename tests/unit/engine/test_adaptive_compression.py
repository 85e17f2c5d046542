"""When compressing RAM pays."""

from __future__ import annotations

from engine.adaptive_compression import AdaptiveCompression


def known(send_ms: float, compress_ms: float) -> AdaptiveCompression:
    adaptive = AdaptiveCompression()
    adaptive.sent(1 << 20, send_ms)
    adaptive.compressed(1 << 20, compress_ms)
    return adaptive


def test_nothing_is_sampled_before_something_was_sent() -> None:
    adaptive = AdaptiveCompression()
    assert not adaptive.wants_sample(0.0)
    adaptive.sent(1 << 20, 1.0)
    assert not adaptive.pays(0.0, 0.0), "nothing was compressed yet"
    assert adaptive.wants_sample(0.0)


def test_it_pays_when_the_time_saved_is_more_than_it_costs() -> None:
    adaptive = known(send_ms=10.0, compress_ms=3.0)
    assert adaptive.pays(0.5, 0.0)
    assert not adaptive.pays(0.7, 0.0)


def test_a_bandwidth_limit_is_a_slow_link() -> None:
    adaptive = known(send_ms=1.0, compress_ms=3.0)
    assert not adaptive.pays(0.0, 0.0)
    assert adaptive.pays(0.5, 10.0 / (1 << 20))


def test_where_it_cannot_pay_it_looks_now_and_then() -> None:
    adaptive = known(send_ms=1.0, compress_ms=3.0)
    samples = [adaptive.wants_sample(0.0) for _ in range(320)]
    assert samples.count(True) == 10


def test_it_follows_a_link_that_becomes_slower() -> None:
    adaptive = known(send_ms=1.0, compress_ms=3.0)
    for _ in range(20):
        adaptive.sent(1 << 20, 20.0)
    assert adaptive.wants_sample(0.0)
    assert adaptive.pays(0.3, 0.0)
