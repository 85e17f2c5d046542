"""QMP commands that QEMU and replug are asked alike, by subject: right ones, and many wrong ones.

Rules kept here: a case is what goes over the wire, its answer is QEMU's to give. What QEMU has
answered differently since 7.2 is kept apart, with the version that came to do so.
"""

from __future__ import annotations

from typing import Any

from tests.conformance.differential import MAC

Case = tuple[str, dict[str, Any]]


def adds(driver: str, /, **options: Any) -> Case:
    return "device_add", {"driver": driver} | options


def nic(**options: Any) -> Case:
    """A NIC in a free slot, but for what is given."""
    return adds("e1000e", **{"netdev": "hs3", "bus": "root3", "romfile": "", **options})


def primary(**options: Any) -> Case:
    """A primary of net1 that is right but for what is given."""
    right = {"netdev": "hs1", "bus": "root1", "mac": MAC, "failover_pair_id": "net1"}
    return nic(**{**right, **options})


def unhidden(**options: Any) -> Case:
    """A primary that no standby hides: it is realized, or refused, at once."""
    return nic(**{"failover_pair_id": "nosuch", **options})


def standby(**options: Any) -> Case:
    right = {"netdev": "hs3", "bus": "root3", "failover": True, "romfile": ""}
    return adds("virtio-net-pci", **{**right, **options})


def removes(name: str) -> Case:
    return "device_del", {"id": name}


def migrates(uri: str, **options: Any) -> Case:
    return "migrate", {"uri": uri, **options}


def goes_on(state: str) -> Case:
    return "migrate-continue", {"state": state}


def receives(uri: str) -> Case:
    return "migrate-incoming", {"uri": uri}


def switches(*capabilities: Any) -> Case:
    return "migrate-set-capabilities", {
        "capabilities": [
            {"capability": each, "state": True} if isinstance(each, str) else each
            for each in capabilities
        ]
    }


def sets(**values: Any) -> Case:
    return "migrate-set-parameters", {name.replace("_", "-"): v for name, v in values.items()}


#: Cases by subject; those of one group are put to one pair of VMs, in this order.
GROUPS: dict[str, list[Case]] = {
    "hidden primaries": [
        primary(),
        primary(id="pri0"),
        removes("pri0"),
        removes("/machine/peripheral/pri0"),
        primary(id="pri0"),
        primary(id="pri1", netdev="hs2", bus="root2"),
        primary(id="pri0", bus="nobus"),
        primary(id="pri0", driver="nodriver"),
        primary(id="pri0", bus="pcie.0"),
        adds("virtio-rng-pci", id="pri0", bus="root3", failover_pair_id="net1"),
    ],
    "placement": [
        unhidden(id="good", netdev="hs2", bus="root2"),
        unhidden(id="good"),
        unhidden(id="net1"),
        nic(id="a", bus="pcie.0"),
        unhidden(id="b", multifunction=True),
        unhidden(id="c", addr="0.1"),
        unhidden(id="d", addr="zz"),
        adds("virtio-rng-pci", id="e", bus="root3", failover_pair_id="nosuch"),
        adds("pcie-root-port", id="f", chassis=9),
        adds("pcie-root-port", id="g", chassis=1, bus="root3"),
    ],
    "properties": [
        unhidden(id="a", netdev="hs0"),
        unhidden(id="b", netdev="hs9"),
        nic(id="c", nosuch=1),
        nic(id="d", mac="xx"),
        ("device_add", {}),
        ("device_add", {"id": "e"}),
        standby(id="f", netdev="hs0"),
        removes("nosuch"),
        ("device_del", {}),
    ],
    "migrate": [
        ("query-migrate", {}),
        ("migrate_cancel", {}),
        ("query-migrate", {}),
        migrates("unix:nobody", nosuch=True),
        ("migrate", {"uri": 5}),
        ("migrate_cancel", {"x": 1}),
        goes_on("nonsense"),
        goes_on("pre-switchover"),
        goes_on("none"),
        ("migrate-continue", {}),
        ("migrate-start-postcopy", {}),
        ("migrate-recover", {"uri": "unix:nobody"}),
        receives("unix:nobody"),
        ("query-migrate", {}),
        ("query-status", {"x": 1}),
        ("query-migrate", {"x": 1}),
        ("no-such-command", {}),
        ("qmp_capabilities", {}),
    ],
    "capabilities": [
        switches("nosuch"),
        switches("return-path", "nosuch"),
        switches("pause-before-switchover"),
        switches({}),
        switches({"capability": "events"}),
        switches({"capability": "events", "state": 1}),
        switches(5),
        ("migrate-set-capabilities", {"capabilities": "events"}),
        ("migrate-set-capabilities", {}),
    ],
    "parameters": [
        sets(),
        sets(nosuch=1),
        sets(multifd_channels=255),
        sets(multifd_compression="lzma"),
        sets(downtime_limit=2_000_000),
        sets(downtime_limit=-1),
        sets(downtime_limit="300"),
        sets(downtime_limit=1.5),
        sets(max_bandwidth=-1),
        sets(max_bandwidth="1M"),
        sets(max_bandwidth=None),
        sets(max_bandwidth=(1 << 64) - 1),
        sets(tls_creds=5),
        sets(xbzrle_cache_size=4096),
    ],
    "net clients": [
        ("set_link", {"name": "nosuch", "up": True}),
        ("set_link", {"name": "net1", "up": False}),
        ("set_link", {"name": "hs0", "up": True}),
        ("set_link", {"name": "net1"}),
        ("query-rx-filter", {"name": "nosuch"}),
        ("query-rx-filter", {"name": "hs0"}),
        ("netdev_del", {"id": "nosuch"}),
        ("netdev_add", {"type": "nosuch", "id": "a"}),
        ("netdev_add", {"id": "a"}),
        ("netdev_del", {"id": "hs1"}),
        ("announce-self", {}),
        ("announce-self", {"initial": 1, "max": 1, "rounds": 1, "step": 1}),
        ("closefd", {"fdname": "nosuch"}),
        ("getfd", {"fdname": "nothing"}),
        ("qom-get", {"path": "/machine/peripheral/net1", "property": "failover"}),
        ("qom-get", {"path": "/machine/peripheral/net1", "property": "nosuch"}),
        ("qom-get", {"path": "/nosuch", "property": "type"}),
    ],
    "running": [("cont", {}), ("cont", {}), ("stop", {}), ("stop", {})],
}

#: The same for what 7.2 alone says so.
CHANGED_SINCE: dict[str, list[Case]] = {
    # 10.0 looks at an id later or never, at an occupied port, and at the types of values.
    "device_add of 7.2": [
        primary(id="1st"),
        unhidden(id="1st"),
        adds("nodriver", id="1st"),
        adds("e1000e", id="a", bus="root3", mac=5),
        unhidden(id="b", bus="root0"),
        standby(id="c", failover="maybe"),
        standby(id="d", failover="on", mac="52:54:00:6f:55:cd"),
        ("netdev_add", {"type": "user", "id": "hs0"}),
    ],
    # 10.0 refuses a bad URI before a migration begins, and can do without `uri`.
    "migrate of 7.2": [
        migrates("bogus"),
        ("query-migrate", {}),
        ("migrate", {}),
        goes_on("pre-switchover"),
        goes_on("failed"),
        ("migrate-pause", {}),
        migrates("unix:nobody", resume=True),
        migrates("tcp:nowhere"),
        ("query-migrate", {}),
        migrates("tcp:"),
        migrates("unix:"),
        migrates("fd:nobody"),
        migrates("fd:5"),
        migrates("fd:5th"),
        ("query-migrate", {}),
        ("migrate_cancel", {}),
        ("query-status", {}),
    ],
    # 9.1 dropped compression, 11.1 words every range anew.
    "parameters of 7.2": [
        sets(multifd_channels=0),
        sets(multifd_channels=256),
        sets(downtime_limit=2_000_001),
        sets(max_bandwidth=1 << 63),
        sets(cpu_throttle_initial=0),
        sets(cpu_throttle_initial=100),
        sets(cpu_throttle_increment=0),
        sets(max_cpu_throttle=5),
        sets(max_cpu_throttle=100),
        sets(throttle_trigger_threshold=0),
        sets(xbzrle_cache_size=1000),
        sets(compress_level=10),
        sets(compress_level=300),
        sets(compress_threads=0),
        sets(decompress_threads=0),
        sets(announce_initial=100_001),
        sets(announce_max=100_001),
        sets(announce_rounds=1001),
        sets(announce_step=0),
        sets(announce_step=10_001),
        sets(tls_creds=None),
    ],
}

#: A target's cases.
INCOMING: list[Case] = [
    ("query-migrate", {}),
    ("migrate_cancel", {}),
    ("cont", {}),
    ("migrate-continue", {"state": "none"}),
    ("query-migrate", {}),
]
INCOMING_CHANGED_SINCE: list[Case] = [
    migrates("unix:nobody"),
    receives("bogus"),
    receives("unix:"),
    receives("fd:nobody"),
    ("query-status", {}),
]
