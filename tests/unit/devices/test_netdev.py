"""Network backends: what is accepted, what is refused, and who uses them."""

from __future__ import annotations

import pytest

from devices.errors import DeviceError
from devices.netdev import NETDEVS_MAX, Netdev, NetdevTable, parse_netdev
from devices.options import Options


@pytest.mark.parametrize(
    ("text", "kind", "values"),
    [
        ("user,id=a", "user", {}),
        ("id=a,type=user,restrict=on", "user", {"restrict": True}),
        ("tap,id=a,ifname=t0,script=no", "tap", {"ifname": "t0", "script": "no"}),
        ("tap,id=a,queues=2,sndbuf=1M", "tap", {"queues": 2, "sndbuf": 2**20}),
        (
            "stream,id=a,server=on,addr.type=unix,addr.path=/a,,b",
            "stream",
            {"server": True, "addr.type": "unix", "addr.path": "/a,b"},
        ),
        (
            "stream,id=a,addr.type=inet,addr.host=h,addr.port=0",
            "stream",
            {"addr.type": "inet", "addr.host": "h", "addr.port": "0"},
        ),
        (
            '{"type":"stream","id":"a","server":true,"addr":{"type":"unix","path":"/s"}}',
            "stream",
            {"server": True, "addr.type": "unix", "addr.path": "/s"},
        ),
        (
            "dgram,id=a,local.type=unix,local.path=/l,remote.type=unix,remote.path=/r",
            "dgram",
            {
                "local.type": "unix",
                "local.path": "/l",
                "remote.type": "unix",
                "remote.path": "/r",
            },
        ),
        (
            "dgram,id=a,remote.type=inet,remote.host=230.0.0.1,remote.port=5",
            "dgram",
            {"remote.type": "inet", "remote.host": "230.0.0.1", "remote.port": "5"},
        ),
        ("dgram,id=a,local.type=fd,local.str=5", "dgram", {"local.type": "fd", "local.str": "5"}),
        (
            "socket,id=a,udp=127.0.0.1:1,localaddr=127.0.0.1:2",
            "socket",
            {"udp": "127.0.0.1:1", "localaddr": "127.0.0.1:2"},
        ),
        ("socket,id=a,listen=:0", "socket", {"listen": ":0"}),
        ("hubport,id=a,hubid=-1", "hubport", {"hubid": -1}),
        ('{"type":"hubport","id":"a","hubid":3}', "hubport", {"hubid": 3}),
    ],
)
def test_accepted(text: str, kind: str, values: dict[str, object]) -> None:
    netdev = parse_netdev(text)
    assert (netdev.id, netdev.type) == ("a", kind)
    assert dict(netdev.options) == values


def test_netdev_cannot_be_changed() -> None:
    netdev = parse_netdev("hubport,id=a,hubid=0")
    assert netdev == Netdev("a", "hubport", {"hubid": 0})
    with pytest.raises(TypeError):
        netdev.options["hubid"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("", "Parameter 'id' is missing"),
        ("user", "Parameter 'id' is missing"),
        ("id=a", "Parameter 'type' is missing"),
        ("user,id=", "Parameter 'id' expects an identifier"),
        ("hubport,id=a/b,hubid=0", "Parameter 'id' expects an identifier"),
        ("nosuch,id=a", "Parameter 'type' does not accept value 'nosuch'"),
        ("vde,id=a", "network backend 'vde' is not compiled into this binary"),
        ("user,id=a,nosuch=1", "Invalid parameter 'nosuch'"),
        ("user,id=a,restrict=maybe", "Parameter 'restrict' expects 'on' or 'off'"),
        ("tap,id=a,queues=x", "Parameter 'queues' expects a uint64 value"),
        ("tap,id=a,sndbuf=zz", "Parameter 'sndbuf' expects a size value"),
        ("tap,id=a,fd=zz", "Invalid file descriptor number 'zz'"),
        (
            "tap,id=a,fd=3,ifname=x",
            "ifname=, script=, downscript=, vnet_hdr=, helper=, queues=, fds=, and vhostfds= "
            "are invalid with fd=",
        ),
        ("stream,id=a", "Parameter 'addr' is missing"),
        ("stream,id=a,addr=unix", "Invalid parameter type for 'addr', expected: object"),
        ("stream,id=a,addr.path=/x", "Parameter 'addr.type' is missing"),
        (
            '{"type":"stream","id":"a","addr":{"type":1}}',
            "Invalid parameter type for 'addr.type', expected: string",
        ),
        (
            '{"type":"tap","id":"a","queues":-1}',
            "Parameter 'queues' expects uint64",
        ),
        ("stream,id=a,addr.type=zz", "Parameter 'type' does not accept value 'zz'"),
        ("stream,id=a,addr.type=unix", "Parameter 'addr.path' is missing"),
        ("stream,id=a,addr.type=inet,addr.host=h", "Parameter 'addr.port' is missing"),
        (
            "stream,id=a,addr.type=unix,addr.path=/x,addr.nosuch=1",
            "Parameter 'addr.nosuch' is unexpected",
        ),
        ("dgram,id=a", "dgram requires local= parameter"),
        (
            "dgram,id=a,local.type=unix,local.path=/x",
            "type=inet or type=unix requires remote parameter",
        ),
        (
            "dgram,id=a,local.type=inet,local.host=h,local.port=0,remote.type=unix,remote.path=/x",
            "remote and local types must be the same",
        ),
        (
            "dgram,id=a,remote.type=inet,remote.host=230.0.0.1,remote.port=5,"
            "local.type=unix,local.path=/x",
            "only support inet or fd type for local",
        ),
        ("socket,id=a", "exactly one of listen=, connect=, mcast= or udp= is required"),
        (
            "socket,id=a,listen=:0,connect=x:1",
            "exactly one of listen=, connect=, mcast= or udp= is required",
        ),
        ("socket,id=a,udp=127.0.0.1:1", "localaddr= is mandatory with udp="),
        (
            "socket,id=a,connect=127.0.0.1:1,localaddr=127.0.0.1:3",
            "localaddr= is only valid with mcast= or udp=",
        ),
        (
            "socket,id=a,listen=zz",
            "host address 'zz' doesn't contain ':' separating host from port",
        ),
        ("hubport,id=a", "Parameter 'hubid' is missing"),
        ("hubport,id=a,hubid=zz", "Parameter 'hubid' expects an int64 value"),
        (f"hubport,id=a,hubid={2**63}", "Parameter 'hubid' expects an int64 value"),
        ('{"type":7,"id":"a"}', "Invalid parameter type for 'type', expected: string"),
        (
            '{"type":"hubport","id":"a","hubid":"0"}',
            "Invalid parameter type for 'hubid', expected: integer",
        ),
        (
            '{"type":"hubport","id":"a","hubid":true}',
            "Invalid parameter type for 'hubid', expected: integer",
        ),
        ('{"type":"user","id":"a","nosuch":1}', "Parameter 'nosuch' is unexpected"),
        (
            '{"type":"stream","id":"a","server":"on","addr":{"type":"unix","path":"/s"}}',
            "Invalid parameter type for 'server', expected: boolean",
        ),
    ],
)
def test_refused(text: str, description: str) -> None:
    with pytest.raises(DeviceError) as refused:
        parse_netdev(text)
    assert refused.value.description == description


def test_qmp_arguments_are_read_as_json() -> None:
    netdev = parse_netdev(Options({"type": "hubport", "id": "a", "hubid": 0}, from_json=True))
    assert netdev.options["hubid"] == 0


def test_table_refuses_a_second_backend_of_one_id() -> None:
    table = NetdevTable()
    first = parse_netdev("hubport,id=a,hubid=0")
    table.add(first)
    second = parse_netdev("hubport,id=a,hubid=1")
    with pytest.raises(DeviceError, match=r"^Duplicate ID 'a' for netdev$"):
        table.add(second)
    with pytest.raises(DeviceError, match=r"^Duplicate ID 'a'$"):
        table.add(second, from_json=True)
    assert list(table) == [first]
    assert table["a"] is first


def test_hubport_needs_the_netdev_it_names() -> None:
    table = NetdevTable()
    port = parse_netdev("hubport,id=p,hubid=0,netdev=u")
    with pytest.raises(DeviceError, match=r"^netdev 'u' not found$"):
        table.add(port)
    table.add(parse_netdev("user,id=u"))
    table.add(port)
    assert len(table) == 2


def test_use_of_a_backend() -> None:
    table = NetdevTable()
    table.add(parse_netdev("user,id=u"))
    assert not table.in_use("u")
    table.attach("u", "net1")
    assert table.in_use("u")
    assert table.user("u") == "net1"
    with pytest.raises(DeviceError, match="to be free"):
        table.attach("u", "other")
    assert table.user("u") == "net1"
    table.detach("u")
    assert not table.in_use("u")
    with pytest.raises(DeviceError, match="'zz' not found"):
        table.attach("zz", "net1")


def test_removal() -> None:
    table = NetdevTable()
    netdev = parse_netdev("user,id=u")
    table.add(netdev)
    table.attach("u", "net1")
    assert table.remove("u") is netdev
    assert "u" not in table
    assert not table.in_use("u")
    with pytest.raises(DeviceError) as refused:
        table.remove("u")
    assert refused.value.error_class == "DeviceNotFound"
    assert refused.value.description == "Device 'u' not found"


def test_number_of_backends_is_bounded() -> None:
    table = NetdevTable()
    for number in range(NETDEVS_MAX):
        table.add(parse_netdev(f"user,id=n{number}"))
    with pytest.raises(DeviceError, match="at most 256 netdevs"):
        table.add(parse_netdev("user,id=more"))
    assert len(table) == NETDEVS_MAX
