"""engine.driver.uplink and .switch together, over real unix sockets.

The guest here is what a VM does with its two NICs: it sends numbered frames through one of them
and moves to the other by DEASSOCIATE, drain, ASSOCIATE. Nothing may be lost or come twice.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from devices.frames import (
    BROADCAST,
    AnnounceFrame,
    ControlFrame,
    ControlOperation,
    FrameError,
    NumberedFrame,
    PlainFrame,
    build,
    parse,
)
from engine.driver import switch as switch_module
from engine.driver.switch import LearningSwitch, SwitchError
from tests.integration.switched_network import (
    GUEST,
    OTHER,
    STATION,
    TO_GUEST,
    Guest,
    Nic,
    Wire,
    all_written,
    numbered,
    reached,
    run,
    sequence_of,
    until,
)


def test_nothing_is_lost_when_an_address_moves_at_full_speed(tmp_path: Path) -> None:
    count = 20_000

    async def main() -> None:
        with closing(Wire(tmp_path)) as wire:
            nics = [await wire.plug("a"), await wire.plug("b")]
            guest = Guest(count)
            for nic in nics:
                guest.own(nic.uplink)
            sent = 0

            def send_more(_: bytes = GUEST) -> None:
                nonlocal sent
                while sent < count and wire.switch.send(numbered(GUEST, STATION, sent, TO_GUEST)):
                    sent += 1

            def moved_frames() -> int:
                return len(guest.received) + len(wire.arrived)

            wire.switch.on_routable = send_more
            send_more()
            assert sent == 0, "the guest is nowhere yet"
            await nics[0].associate()
            guest.use(nics[0].uplink)
            for goal in range(2000, 2 * count + 1, 2000):
                await until(partial(reached, moved_frames, goal))
                old, new = nics
                guest.use(None)
                await until(partial(all_written, old.uplink))
                await old.deassociate()
                old.uplink.drain()
                await new.associate()
                guest.use(new.uplink)
                nics.reverse()
            await until(partial(reached, moved_frames, 2 * count))
            assert guest.received == list(range(count))
            assert [sequence_of(frame) for _, frame in wire.arrived] == list(range(count))
            history = wire.switch.path_history(GUEST)
            assert history[:4] == ["a", "b", "a", "b"]
            assert wire.switch.undeliverable_frames == wire.switch.dropped_group_frames == 0
            for nic in nics:
                assert not nic.lost
                nic.close()

    run(main())


def test_addresses_are_learned_and_unknown_ones_are_not_flooded(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire:
            with closing(await wire.plug("a")) as a, closing(await wire.plug("b")) as b:
                to_guest = numbered(GUEST, STATION, 1)
                assert not wire.switch.send(to_guest)
                assert wire.routable == []
                a.uplink.send(build(AnnounceFrame(GUEST)))
                await until(lambda: b.frames)
                assert wire.routable == [GUEST]
                assert wire.switch.port_of(GUEST) == "a"
                assert wire.switch.send(to_guest)
                await until(lambda: a.frames)
                # b speaks as the guest: the address has moved.
                b.uplink.send(numbered(STATION, GUEST, 2))
                await until(lambda: len(wire.arrived) == 2)
                assert wire.switch.port_of(GUEST) == "b"
                # a to the guest, behind b; then to nobody.
                a.uplink.send(numbered(GUEST, OTHER, 3))
                a.uplink.send(numbered(bytes.fromhex("5254000000aa"), OTHER, 4))
                await until(lambda: wire.switch.undeliverable_frames and len(b.frames) == 2)
                assert a.frames == [to_guest]
                assert [parse(frame) for frame in b.frames] == [
                    AnnounceFrame(GUEST),
                    NumberedFrame(GUEST, OTHER, 3, 0),
                ]
                assert [name for name, _ in wire.arrived] == ["a", "b"]
                assert wire.switch.path_history(GUEST) == ["a", "b"]
                assert wire.switch.path_history(OTHER) == ["a"]

    run(main())


def test_the_station_s_group_frames_reach_every_port(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire:
            with closing(await wire.plug("a")) as a, closing(await wire.plug("b")) as b:
                frame = numbered(BROADCAST, STATION, 1)
                assert wire.switch.send(frame)
                await until(lambda: a.frames and b.frames)
                assert a.frames == b.frames == [frame]

    run(main())


def test_an_associated_address_stays_until_it_is_asked_for(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire:
            a, b = await wire.plug("a"), await wire.plug("b")
            await a.associate()
            b.uplink.send(numbered(STATION, GUEST, 1))
            await until(lambda: wire.arrived)
            assert wire.switch.port_of(GUEST) == "a", "a late frame does not move it"
            await b.deassociate()
            assert wire.switch.port_of(GUEST) == "a", "it is not b's to give up"
            await b.associate()
            assert wire.switch.port_of(GUEST) == "b"
            await b.deassociate()
            assert wire.switch.port_of(GUEST) is None
            assert not wire.switch.send(numbered(GUEST, STATION, 1))
            await a.associate()
            assert wire.routable == [GUEST]
            a.close()
            await until(lambda: not wire.switch.is_up("a"))
            assert wire.switch.port_of(GUEST) is None, "its NIC is gone"
            assert wire.ports == ["a up", "b up", "a down"]
            b.close()

    run(main())


def test_associated_waits_for_what_was_sent_elsewhere(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire:
            a, b, c = [await wire.plug(name) for name in ("a", "b", "c")]
            await a.associate()
            a.uplink.pause()
            frame = build(PlainFrame(GUEST, STATION, 0x0800, bytes(50_000)))
            sent = 0
            while wire.switch.send(frame):
                sent += 1
            b.uplink.associate(GUEST)
            await until(lambda: wire.switch.port_of(GUEST) == "b")
            c.uplink.associate(GUEST)
            await until(lambda: wire.switch.port_of(GUEST) == "c")
            assert wire.switch.send(numbered(GUEST, STATION, 1)), "it goes to c at once"
            await until(lambda: c.frames)
            assert b.answers == c.answers == [], "a frame is still half written to a"
            a.uplink.resume()
            await until(lambda: b.answers and c.answers)
            a.uplink.drain()
            assert a.frames == [frame] * sent, "all of it was written before the answers"
            for nic in (a, b, c):
                nic.close()

    run(main())


def test_a_lost_port_holds_no_answer_back(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire:
            a, b = await wire.plug("a"), await wire.plug("b")
            await a.associate()
            a.uplink.pause()
            while wire.switch.send(build(PlainFrame(GUEST, STATION, 0x0800, bytes(50_000)))):
                pass
            b.uplink.associate(GUEST)
            await until(lambda: wire.switch.port_of(GUEST) == "b")
            assert b.answers == []
            a.close()
            await until(lambda: b.answers)
            assert b.answers == [(GUEST, True)]
            b.close()

    run(main())


def test_deassociated_comes_behind_every_frame_written_to_the_port(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire, closing(await wire.plug("a")) as nic:
            await nic.associate()
            seen_at_answer: list[int] = []
            nic.uplink.on_associated = lambda mac, _: seen_at_answer.append(len(nic.frames))
            nic.uplink.pause()
            sent = 0
            while wire.switch.send(numbered(GUEST, STATION, sent)):
                sent += 1
            nic.uplink.deassociate(GUEST)
            await until(lambda: wire.switch.port_of(GUEST) is None)
            nic.uplink.resume()
            await until(lambda: seen_at_answer)
            assert seen_at_answer == [sent]
            assert [sequence_of(frame) for frame in nic.frames] == list(range(sent))

    run(main())


def test_a_port_that_does_not_read_stops_those_that_send_to_it(tmp_path: Path) -> None:
    count = 5000

    async def main() -> None:
        with closing(Wire(tmp_path)) as wire:
            a, b = await wire.plug("a"), await wire.plug("b")
            await b.associate()
            b.uplink.pause()
            sent = 0

            def send_more() -> None:
                nonlocal sent
                while sent < count and a.uplink.send(numbered(GUEST, OTHER, sent)):
                    sent += 1

            a.uplink.on_writable = send_more
            send_more()
            while sent < count:
                before = sent
                for _ in range(50):
                    await asyncio.sleep(0)
                if sent == before:
                    break
            assert sent < count, "b does not read, so a is stopped"
            b.uplink.resume()
            await until(lambda: len(b.frames) == count)
            assert [sequence_of(frame) for frame in b.frames] == list(range(count))
            assert wire.switch.undeliverable_frames == 0
            a.close()
            b.close()

    run(main())


def test_a_stopped_port_goes_on_when_the_other_one_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire:
            a, b = await wire.plug("a"), await wire.plug("b")
            await b.associate()
            b.uplink.pause()
            frame = build(PlainFrame(GUEST, OTHER, 0x0800, bytes(1000)))
            refusals = 0
            while refusals < 50:
                refusals = 0 if a.uplink.send(frame) else refusals + 1
                await asyncio.sleep(0)
            b.close()
            await until(lambda: a.uplink.send(numbered(STATION, OTHER, 1)))
            await until(lambda: wire.arrived)
            a.close()

    run(main())


def test_one_nic_per_port_and_the_next_when_it_has_left(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire:
            first = await wire.plug("a")
            second = Nic(f"{tmp_path}/a")
            await until(lambda: second.lost)
            await first.associate()
            first.close()
            # At once: the switch may read of the leaving only after the arrival.
            third = Nic(f"{tmp_path}/a")
            await third.associate()
            assert wire.ports == ["a up", "a down", "a up"]
            third.close()

    run(main())


def test_malformed_and_impersonating_frames_change_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        with closing(Wire(tmp_path)) as wire, closing(await wire.plug("a")) as nic:
            bad = build(ControlFrame(ControlOperation.ASSOCIATE, GUEST)).replace(
                b"\x89\x40\x01\x01", b"\x89\x40\x01\x09"
            )
            for frame in (
                bad,
                build(ControlFrame(ControlOperation.ASSOCIATED, GUEST)),
                build(ControlFrame(ControlOperation.ASSOCIATE, STATION)),
                build(ControlFrame(ControlOperation.ASSOCIATE, BROADCAST)),
                numbered(STATION, STATION, 1),
                numbered(STATION, BROADCAST, 1),
            ):
                assert nic.uplink.send(frame)
            await until(lambda: wire.switch.malformed_frames == 6)
            assert wire.arrived == []
            assert wire.switch.port_of(GUEST) is wire.switch.port_of(STATION) is None
            with pytest.raises(FrameError):
                wire.switch.send(b"short")

    run(main())


def test_bounds_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch_module, "ADDRESSES_MAX", 3)

    def mac(number: int) -> bytes:
        return b"\x52\x54\0\0\0" + bytes([number])

    async def main() -> None:
        with closing(Wire(tmp_path)) as wire, closing(await wire.plug("a")) as nic:
            for number in range(2, 7):
                assert nic.uplink.send(numbered(STATION, mac(number), 1))
            await until(lambda: len(wire.arrived) == 5)
            known = [number for number in range(2, 7) if wire.switch.port_of(mac(number))]
            assert known == [2, 3, 4]
            for number in (2, 3, 4):
                assert wire.switch.send(numbered(mac(number), STATION, 1))
            for number in (10, 11, 12, 12):
                assert not wire.switch.send(numbered(mac(number), STATION, 1))
            with pytest.raises(SwitchError, match="frames for 3 addresses wait"):
                wire.switch.send(numbered(mac(13), STATION, 1))
            nic.uplink.associate(mac(20))
            await until(lambda: nic.lost)
            with pytest.raises(SwitchError, match="already"):
                wire.switch.add_port("a", f"{tmp_path}/again")
            with pytest.raises(SwitchError, match="no port 'z'"):
                wire.switch.is_up("z")
        with pytest.raises(SwitchError, match="address of its own"):
            LearningSwitch(BROADCAST, on_frame=print)

    run(main())
