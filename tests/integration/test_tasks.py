"""Tasks that fail as nobody expects: their owner is told, and so is the loop's log."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from engine.driver.channel import Piece, TransportError
from engine.driver.connection import Connection
from engine.driver.tasks import Defect, Tasks
from tests.integration.migration_streams import run
from tests.integration.test_transport import pair


def logged() -> list[BaseException]:
    """What is given to the running loop's exception handler from now on."""
    errors: list[BaseException] = []

    def note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        errors.append(context["exception"])

    asyncio.get_running_loop().set_exception_handler(note)
    return errors


async def fails(error: BaseException) -> None:
    raise error


def test_owner_and_log_are_told_of_one_that_fails() -> None:
    async def main() -> None:
        errors, defects = logged(), list[Defect]()
        error = MemoryError("none left")
        tasks = Tasks(defects.append)
        with suppress(MemoryError):
            await tasks.start(fails(error))
        assert errors == [error]
        assert [str(defect) for defect in defects] == [
            "Internal error, of which stderr says more: MemoryError: none left"
        ]

    run(main())


def test_nobody_is_told_of_one_that_ends_or_is_cancelled() -> None:
    async def main() -> None:
        errors, defects = logged(), list[Defect]()
        tasks = Tasks(defects.append)
        await tasks.start(asyncio.sleep(0))
        waits = tasks.start(fails(asyncio.CancelledError()))
        await asyncio.wait([waits])
        assert waits.cancelled()
        assert errors == defects == []

    run(main())


def test_what_fails_once_it_is_cancelled_is_logged_and_no_news_to_the_owner() -> None:
    async def main() -> None:
        errors, defects = logged(), list[Defect]()
        tasks = Tasks(defects.append)
        error = MemoryError()
        begun = asyncio.Event()

        async def fails_in_the_end() -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                raise error

        task = tasks.start(fails_in_the_end())
        await begun.wait()
        tasks.cancel()
        await asyncio.wait([task])
        assert errors == [error]
        assert defects == []

    run(main())


def test_a_connection_that_reads_no_more_is_told_lost_when_it_is_abandoned(tmp_path: Path) -> None:
    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        with closing(source), closing(target):
            lost: list[Exception | None] = []
            connection = Connection(
                source, hears="from_target", on_message=lambda _: None, on_lost=lost.append
            )
            assert await connection.drained()
            connection.stop_reading()
            await asyncio.sleep(0)
            error = TransportError("gone")
            connection.abandon(error)
            assert lost == [error]

    run(main())


def test_a_thread_that_cannot_be_started_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    def frames() -> Generator[list[Piece], None, None]:
        yield [b"frame"]

    async def main() -> None:
        source, target = await pair(f"unix:{tmp_path}/s")
        with closing(target):
            before = os.listdir("/proc/self/fd")
            with monkeypatch.context() as patch:
                patch.setattr(threading.Thread, "start", refuse)
                with pytest.raises(RuntimeError, match="can't start"):
                    await source.carry_out(frames())
            assert os.listdir("/proc/self/fd") == before
            source.close()
            assert await target.read(1) == b"", "the end of the stream"

    run(main())
