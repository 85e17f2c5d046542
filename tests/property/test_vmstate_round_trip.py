"""Laws of the device stream: it round-trips, and any damage is refused and changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.e1000e import E1000E, E1000e
from devices.pcie_port import PCIE_ROOT_PORT, PcieRootPort
from devices.virtio import VirtQueue, allowed_features
from devices.virtio_net import VirtioNet
from devices.virtio_net_vmstate import VIRTIO_NET
from devices.vmstate import VmStateDescription, VmStateError, load, prepare, save

U16 = st.integers(0, 2**16 - 1)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
MACS = st.binary(min_size=6, max_size=6)


def queues(count: int) -> st.SearchStrategy[list[VirtQueue]]:
    queue = st.builds(
        VirtQueue,
        size=U32,
        desc=U64,
        avail=U64,
        used=U64,
        last_avail_index=U16,
        vector=U16,
        enabled=st.booleans(),
    )
    return st.lists(queue, min_size=count, max_size=count)


@st.composite
def standbys(draw: st.DrawFn) -> VirtioNet:
    """A standby in any state that a driver can bring it into."""
    device = VirtioNet(draw(MACS), failover=True)
    features = draw(U64) & allowed_features(failover=True)
    device.write_guest_features(0, features & 0xFFFF_FFFF)
    device.write_guest_features(1, features >> 32)
    device.status = draw(st.integers(0, 255))
    device.isr = draw(st.integers(0, 3))
    device.queue_select = draw(st.integers(0, 1023))
    if features >> 32 & 1:
        device.queues = draw(queues(3))
    device.mac = draw(MACS)
    device.set_link(draw(st.booleans()))
    device.promiscuous = draw(st.booleans())
    device.no_broadcast = draw(st.booleans())
    addresses = draw(st.lists(MACS, max_size=64))
    device.set_mac_table(
        [mac for mac in addresses if not mac[0] & 1], [mac for mac in addresses if mac[0] & 1]
    )
    for vlan in draw(st.lists(st.integers(0, 4095), max_size=3)):
        device.set_vlan(vlan, True)
    device.announce_rounds = draw(st.integers(0, 20))
    device.started = draw(st.booleans())
    device.broken = draw(st.booleans())
    return device


@st.composite
def ports(draw: st.DrawFn) -> PcieRootPort:
    return PcieRootPort(slot_control=draw(U16), slot_status=draw(U16), link_status=draw(U16))


@st.composite
def cards(draw: st.DrawFn) -> E1000e:
    device = E1000e(draw(MACS))
    device.control, device.status, device.receive_control = draw(U32), draw(U32), draw(U32)
    device.receive_addresses = draw(st.lists(U32, min_size=32, max_size=32))
    return device


def fresh(device: object) -> Any:
    """A device of the same kind and shape that no guest has touched."""
    if isinstance(device, VirtioNet):
        return VirtioNet(bytes(6), failover=True, announce_rounds_after_load=0)
    return PcieRootPort() if isinstance(device, PcieRootPort) else E1000e(bytes(6))


def described(device: object) -> VmStateDescription[Any]:
    if isinstance(device, VirtioNet):
        return VIRTIO_NET
    return PCIE_ROOT_PORT if isinstance(device, PcieRootPort) else E1000E


DEVICES = st.one_of(standbys(), ports(), cards())


def on_the_wire(section: Any) -> Any:
    return msgpack.unpackb(msgpack.packb(section))


@given(device=DEVICES)
def test_a_device_travels_whole(device: object) -> None:
    target = fresh(device)
    section = save(described(device), device)
    load(described(device), target, on_the_wire(section))
    assert save(described(device), target) == section
    # Beyond the section's own account: every attribute but the options and the host's statistics.
    if isinstance(device, VirtioNet):
        target.permanent_mac = device.permanent_mac
        target.announce_rounds_after_load = device.announce_rounds_after_load
    assert vars(target) == vars(device)


@given(device=DEVICES)
def test_loading_twice_is_loading_once(device: object) -> None:
    section = save(described(device), device)
    once, twice = fresh(device), fresh(device)
    load(described(device), once, section)
    load(described(device), twice, section)
    load(described(device), twice, section)
    assert vars(once) == vars(twice)


def slots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a section, from the outside in."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield value, key
        if isinstance(value[key], (dict, list)):
            yield from slots(value[key])


#: Values that no field of any description allows.
MISFITS: st.SearchStrategy[object] = st.sampled_from(
    [None, -1, 2**64, 1.5, "\ud800", b"x" * 1000, {"a": 1}, [[]]]
)


@given(device=DEVICES, data=st.data())
def test_a_value_that_fits_nowhere_is_refused_anywhere(device: object, data: st.DataObject) -> None:
    section = on_the_wire(save(described(device), device))
    container, key = data.draw(st.sampled_from(list(slots(section))), label="slot")
    container[key] = data.draw(MISFITS, label="value")
    refused_without_change(device, section)


@given(device=DEVICES, data=st.data())
def test_a_missing_entry_is_refused(device: object, data: st.DataObject) -> None:
    section = on_the_wire(save(described(device), device))
    entries = [slot for slot in slots(section) if isinstance(slot[0], dict)]
    container, key = data.draw(st.sampled_from(entries), label="entry")
    del container[key]
    refused_without_change(device, section)


@given(device=DEVICES, data=st.data())
def test_a_further_entry_is_refused(device: object, data: st.DataObject) -> None:
    section = on_the_wire(save(described(device), device))
    maps = [section, *(c[k] for c, k in slots(section) if isinstance(c[k], dict))]
    data.draw(st.sampled_from(maps), label="map")["surplus"] = 1
    refused_without_change(device, section)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(section=ANYTHING)
def test_what_is_no_section_at_all_is_refused(section: object) -> None:
    for device in (VirtioNet(bytes(6)), PcieRootPort(), E1000e(bytes(6))):
        with pytest.raises(VmStateError):
            prepare(described(device), device, section)


def refused_without_change(device: object, section: object) -> None:
    target = fresh(device)
    before = copy.deepcopy(vars(target))
    with pytest.raises(VmStateError):
        load(described(device), target, section)
    assert vars(target) == before
