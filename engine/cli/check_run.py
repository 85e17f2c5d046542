"""Topologies checked side by side, one process each, with a word on how far they are."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from multiprocessing.queues import SimpleQueue
from typing import NamedTuple

from statemachines.checker.explore import Progress
from statemachines.checker.report import TopologyReport, report_of
from statemachines.checker.verdict import judge
from statemachines.claims import Property
from statemachines.policies import VALUATIONS
from statemachines.properties import property_named
from statemachines.topology import topology_named


class Step(NamedTuple):
    """How far one topology is."""

    #: Which.
    topology: str
    #: Its progress.
    progress: Progress


#: How often progress is asked for while nothing is done.
_LOOK_SECONDS = 0.2
_steps: SimpleQueue[Step] | None = None


def check_topologies(
    names: Sequence[str],
    profile: str,
    properties: Sequence[Property],
    show: Callable[[Step], None],
) -> list[TopologyReport]:
    """Check topologies, the given order kept, and show how far they are meanwhile."""
    wanted = [each.name for each in properties]
    jobs = min(len(names), len(os.sched_getaffinity(0)))
    context = multiprocessing.get_context("fork")
    steps: SimpleQueue[Step] = context.SimpleQueue()
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(steps,)
    ) as pool:
        futures = [pool.submit(_check, name, profile, wanted) for name in names]
        waiting: set[Future[TopologyReport]] = set(futures)
        while waiting:
            _, waiting = wait(waiting, _LOOK_SECONDS, return_when=FIRST_COMPLETED)
            while not steps.empty():
                show(steps.get())
        return [future.result() for future in futures]


def _begin(steps: SimpleQueue[Step]) -> None:
    global _steps
    _steps = steps


def _check(name: str, profile: str, properties: Sequence[str]) -> TopologyReport:
    def tell(progress: Progress) -> bool:
        if _steps is not None:
            _steps.put(Step(name, progress))
        return True

    asked = tuple(property_named(each) for each in properties)
    began = time.perf_counter()
    with ThreadPoolExecutor(1, "check") as pool:
        judged = judge(
            topology_named(name),
            VALUATIONS[profile],
            asked,
            on_level=tell,
            beside=lambda work: pool.submit(work).result,
        )
    return report_of(judged, time.perf_counter() - began)
