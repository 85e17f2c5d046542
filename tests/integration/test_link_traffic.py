"""Which NICs carry something: those with a link and an uplink, and of announcements those named."""

from __future__ import annotations

import asyncio
from contextlib import closing

from devices.frames import mac_bytes
from engine.driver.clock import LoopClock
from engine.driver.network import STATION_MAC
from engine.driver.station import Station
from engine.driver.switch import LearningSwitch
from tests.integration.lab import Lab, scenario
from tests.integration.test_migration_traffic import FRAMES, MAC
from tests.integration.vms import GUEST, ROOTS, Vm

STANDBY = f"-device virtio-net-pci,netdev=hostnet1,id=net1,mac={MAC},bus=root2,failover=on"
PRIMARY = f"-device e1000e,netdev=hostnet2,id=pri0,mac={MAC},bus=root1,failover_pair_id=net1"


SECOND_MAC = "52:54:00:6f:55:cd"
SECOND = f"-device virtio-net-pci,netdev=hostnet2,id=net2,mac={SECOND_MAC},failover=on"


def cabled(lab: Lab, switch: LearningSwitch) -> tuple[str, ...]:
    """Give a VM a backend for each of the two NICs."""
    for path in ("standby", "primary"):
        switch.add_port(f"vm {path}", lab.path(path))
    netdev = "-netdev stream,server=off,addr.type=unix"
    return (
        *ROOTS,
        f"{netdev},id=hostnet1,addr.path={lab.path('standby')}",
        f"{netdev},id=hostnet2,addr.path={lab.path('primary')}",
    )


async def sent_in_vain(station: Station, vm: Vm) -> dict[str, int]:
    """Have the station send on; return the guest's counts, of which `received` has not changed."""
    before = await vm.guest("frames")
    goal = station.sent + 30
    while station.sent < goal:
        await vm.guest("frames")
    after = await vm.guest("frames")
    assert after["received"] == before["received"]
    return {"sent": after["sent"] - before["sent"], "received": after["received"]}


@scenario
async def test_a_standby_without_link(lab: Lab) -> None:
    station = Station(mac_bytes(MAC), 1.0, LoopClock())
    with closing(station):
        vm = await lab.vm("vm", guest=FRAMES, devices=(*cabled(lab, station.switch), STANDBY))
        await station.heard_from("vm standby")
        station.start()
        await vm.until_frames(20)
        await vm.command("set_link", name="net1", up=False)
        counts = await sent_in_vain(station, vm)
        assert counts["sent"] == 0
        await vm.command("set_link", name="net1", up=True)
        await vm.until_frames(counts["received"] + 20)
        await station.received(station.arrivals().received + 20)
        assert (station.arrivals().missing, station.arrivals().duplicated) == (0, 0)
        assert (await vm.guest("frames"))["lost_inside"] >= 30


@scenario
async def test_a_primary_without_link(lab: Lab) -> None:
    station = Station(mac_bytes(MAC), 1.0, LoopClock())
    with closing(station):
        vm = await lab.vm(
            "vm", guest=FRAMES, devices=(*cabled(lab, station.switch), STANDBY, PRIMARY)
        )
        await vm.on_primaries()
        await station.heard_from("vm primary")
        station.start()
        await vm.until_frames(20)
        await vm.command("set_link", name="pri0", up=False)
        counts = await sent_in_vain(station, vm)
        # net_failover sends on the standby meanwhile, and takes in nothing there.
        await station.heard_from("vm standby")
        await vm.command("set_link", name="pri0", up=True)
        await vm.on_primaries()
        await vm.until_frames(counts["received"] + 20)
        await station.received(station.arrivals().received + 20)
        assert (station.arrivals().missing, station.arrivals().duplicated) == (0, 0)


@scenario
async def test_frames_leave_by_the_standby_that_has_an_uplink(lab: Lab) -> None:
    station = Station(mac_bytes(SECOND_MAC), 1.0, LoopClock())
    with closing(station):
        bare = STANDBY.replace("hostnet1", "nowhere")
        devices = (*cabled(lab, station.switch), "-netdev user,id=nowhere", bare, SECOND)
        vm = await lab.vm("vm", guest=FRAMES, devices=devices)
        await station.received(20)
        station.start()
        await vm.until_frames(20)


@scenario
async def test_an_announcement_is_of_the_standby_it_names(lab: Lab) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    switch = LearningSwitch(STATION_MAC, on_frame=lambda port, _: heard.put_nowait(port))
    with closing(switch):
        vm = await lab.vm("vm", guest=GUEST, devices=(*cabled(lab, switch), STANDBY, SECOND))
        for name in ("net1", "net2"):
            await vm.reaches("standby", "driver-ok", name)
        told = []
        for name in ("net2", "net1", "net2"):
            timing = {"initial": 1, "max": 1, "rounds": 1, "step": 1}
            await vm.command("announce-self", interfaces=[name], **timing)
            told.append(await heard.get())
        assert told == ["vm primary", "vm standby", "vm primary"]
        assert heard.empty()


async def sent(vm: Vm, looks: int = 1) -> int:
    """Return how many frames have left, after asking so many times."""
    counts = [(await vm.guest("frames"))["sent"] for _ in range(looks)]
    return int(counts[-1])


@scenario
async def test_an_uplink_that_has_room_again_is_used_again(lab: Lab) -> None:
    """By a guest that has nothing else to do: no tick of its workload has it look."""
    plugged: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_unix_server(
        lambda *streams: plugged.put_nowait(streams), lab.path("standby"), limit=1
    )
    netdev = f"-netdev stream,server=off,addr.type=unix,id=hostnet1,addr.path={lab.path('standby')}"
    async with server:
        vm = await lab.vm("vm", guest="dirty=0,frames=1ms", devices=(*ROOTS, netdev, STANDBY))
        # Nobody reads: it is full when the count stands still.
        before = 0
        while (count := await sent(vm, looks=100)) > before or not count:
            before = count
        reader, writer = await plugged.get()
        with closing(writer):
            reading = asyncio.ensure_future(reader.read())
            while await sent(vm) < before + 50:
                pass
            reading.cancel()
        await writer.wait_closed()
