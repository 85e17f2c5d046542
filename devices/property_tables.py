"""Which properties each device model has, with QEMU's types, defaults and descriptions.

Data only: one tuple per model or group of models. The names and defaults are those QEMU 7.2
answers to device-list-properties for machine q35, so that a command line written for QEMU is
accepted whole. One entry is newer: `rombar` is a signed integer with default -1 (QEMU 9.2).
Properties of a virtio device that QEMU keeps in the device behind its PCI proxy name that device
as `owner`, because errors about their values do.
"""

from __future__ import annotations

from devices.properties import ADDRESS_AUTO, Kind, Property

_ON_OFF = "on/off"
_ON_OFF_AUTO = ("on", "off", "auto")
#: Default of a reserve that leaves the amount to the firmware.
_UINT64_UNSET = 2**64 - 1
_UINT32_UNSET = 2**32 - 1
_VIRTIO_NET = "virtio-net-device"
_VIRTIO_RNG = "virtio-rng-device"


def _bits(default: bool, *names: str, owner: str | None = None) -> tuple[Property, ...]:
    """Return bools that QEMU declares as bits of a word, and describes as on/off."""
    return tuple(Property(name, Kind.BOOL, default, _ON_OFF, owner) for name in names)


def _bools(default: bool, *names: str, owner: str | None = None) -> tuple[Property, ...]:
    """Return plain bools, which QEMU does not describe."""
    return tuple(Property(name, Kind.BOOL, default, owner=owner) for name in names)


def _choice(name: str, default: str, type_name: str, *words: str) -> Property:
    return Property(name, Kind.CHOICE, default, "/".join(words), choices=words, type_name=type_name)


def _nic(owner: str | None = None) -> tuple[Property, ...]:
    """Return what every network card has."""
    mac_text = "Ethernet 6-byte MAC Address, example: 52:54:00:12:34:56"
    return (
        Property("mac", Kind.MAC, None, mac_text, owner),
        Property("netdev", Kind.NETDEV, None, "ID of a netdev to use as a backend", owner),
        Property("bootindex", Kind.INT32),
    )


#: Properties of every PCI device. `driver`, `bus` and `id` are options, not properties.
PCI_DEVICE: tuple[Property, ...] = (
    Property(
        "addr",
        Kind.PCI_ADDRESS,
        ADDRESS_AUTO,
        "Slot and optional function number, example: 06.0 or 06",
    ),
    Property("romfile", Kind.TEXT),
    Property("romsize", Kind.UINT32, _UINT32_UNSET),
    Property("rombar", Kind.INT32, -1),
    *_bits(False, "multifunction"),
    *_bits(True, "x-pcie-lnksta-dllla", "x-pcie-extcap-init"),
    Property("failover_pair_id", Kind.TEXT),
    Property("acpi-index", Kind.UINT32, 0),
)

_VIRTIO_PCI: tuple[Property, ...] = (
    *PCI_DEVICE,
    *_bits(
        True,
        "migrate-extra",
        "x-pcie-pm-init",
        "x-pcie-flr-init",
        "x-pcie-lnkctl-init",
        "x-pcie-deverr-init",
        "x-ats-page-aligned",
        "ioeventfd",
    ),
    *_bits(
        False,
        "ats",
        "aer",
        "page-per-vq",
        "virtio-pci-bus-master-bug-migration",
        "modern-pio-notify",
        "x-disable-pcie",
    ),
    *_bools(False, "x-ignore-backend-features"),
    Property("vectors", Kind.UINT32, _UINT32_UNSET),
)

_VIRTIO_PCI_LEGACY: tuple[Property, ...] = (
    _choice("disable-legacy", "auto", "OnOffAuto", *_ON_OFF_AUTO),
    *_bools(False, "disable-modern"),
)


def _virtio(owner: str) -> tuple[Property, ...]:
    """Return what every virtio device has behind its proxy."""
    return (
        *_bits(
            True,
            "notify_on_empty",
            "any_layout",
            "event_idx",
            "indirect_desc",
            "queue_reset",
            owner=owner,
        ),
        *_bits(False, "packed", "iommu_platform", owner=owner),
        *_bools(True, "use-started", "use-disabled-flag", owner=owner),
        *_bools(False, "x-disable-legacy-check", owner=owner),
        Property("virtio-backend", Kind.READ_ONLY, type_name=f"child<{owner}>"),
    )


#: virtio-net-pci-non-transitional.
VIRTIO_NET_MODERN: tuple[Property, ...] = (
    *_VIRTIO_PCI,
    *_virtio(_VIRTIO_NET),
    *_nic(_VIRTIO_NET),
    *_bools(False, "failover", owner=_VIRTIO_NET),
    *_bits(
        True,
        "csum",
        "guest_csum",
        "gso",
        "guest_tso4",
        "guest_tso6",
        "guest_ecn",
        "guest_ufo",
        "guest_announce",
        "host_tso4",
        "host_tso6",
        "host_ecn",
        "host_ufo",
        "mrg_rxbuf",
        "status",
        "ctrl_vq",
        "ctrl_rx",
        "ctrl_vlan",
        "ctrl_rx_extra",
        "ctrl_mac_addr",
        "ctrl_guest_offloads",
        owner=_VIRTIO_NET,
    ),
    *_bits(False, "mq", "rss", "hash", "guest_rsc_ext", owner=_VIRTIO_NET),
    *_bools(True, "x-mtu-bypass-backend", owner=_VIRTIO_NET),
    Property("host_mtu", Kind.UINT16, 0, owner=_VIRTIO_NET),
    Property("rx_queue_size", Kind.UINT16, 256, owner=_VIRTIO_NET),
    Property("tx_queue_size", Kind.UINT16, 256, owner=_VIRTIO_NET),
    Property("rsc_interval", Kind.UINT32, 300000, owner=_VIRTIO_NET),
    Property("x-txtimer", Kind.UINT32, 150000, owner=_VIRTIO_NET),
    Property("x-txburst", Kind.INT32, 256, owner=_VIRTIO_NET),
    Property("tx", Kind.TEXT, owner=_VIRTIO_NET),
    Property("speed", Kind.INT32, -1, owner=_VIRTIO_NET),
    Property("duplex", Kind.TEXT, owner=_VIRTIO_NET),
)

#: virtio-net-pci.
VIRTIO_NET: tuple[Property, ...] = (*VIRTIO_NET_MODERN, *_VIRTIO_PCI_LEGACY)

#: virtio-rng-pci.
VIRTIO_RNG: tuple[Property, ...] = (
    *_VIRTIO_PCI,
    *_virtio(_VIRTIO_RNG),
    *_VIRTIO_PCI_LEGACY,
    Property("max-bytes", Kind.UINT64, 2**63 - 1, owner=_VIRTIO_RNG),
    Property("period", Kind.UINT32, 65536, owner=_VIRTIO_RNG),
    Property("rng", Kind.TEXT, owner=_VIRTIO_RNG, type_name="link<rng-backend>"),
)

#: pcie-root-port.
PCIE_ROOT_PORT: tuple[Property, ...] = (
    *PCI_DEVICE,
    Property("chassis", Kind.UINT8, 0),
    Property("slot", Kind.UINT16, 0),
    Property("port", Kind.UINT8, 0),
    *_bools(True, "hotplug", "x-native-hotplug", "x-migrate-msix"),
    *_bools(False, "disable-acs", "x-do-not-expose-native-hotplug-cap"),
    *_bits(True, "power_controller_present"),
    Property("aer_log_max", Kind.UINT16, 8),
    Property("bus-reserve", Kind.UINT32, _UINT32_UNSET),
    Property("io-reserve", Kind.SIZE, _UINT64_UNSET),
    Property("mem-reserve", Kind.SIZE, _UINT64_UNSET),
    Property("pref32-reserve", Kind.SIZE, _UINT64_UNSET),
    Property("pref64-reserve", Kind.SIZE, _UINT64_UNSET),
    _choice("x-speed", "16", "PCIELinkSpeed", "2_5", "5", "8", "16"),
    _choice("x-width", "32", "PCIELinkWidth", "1", "2", "4", "8", "12", "16", "32"),
)

#: pcie-pci-bridge.
PCIE_PCI_BRIDGE: tuple[Property, ...] = (
    *PCI_DEVICE,
    _choice("msi", "auto", "OnOffAuto", *_ON_OFF_AUTO),
)

#: e1000e.
E1000E: tuple[Property, ...] = (
    *PCI_DEVICE,
    *_nic(),
    Property(
        "disable_vnet_hdr",
        Kind.UINT8,
        0,
        "Do not use virtio headers, perform SW offloads emulation instead",
    ),
    Property("subsys_ven", Kind.UINT16, 0x8086, "PCI device Subsystem Vendor ID"),
    Property("subsys", Kind.UINT16, 0, "PCI device Subsystem ID"),
    *_bools(True, "init-vet"),
)

#: e1000.
E1000: tuple[Property, ...] = (
    *PCI_DEVICE,
    *_nic(),
    *_bits(
        True,
        "autonegotiation",
        "mitigation",
        "extra_mac_registers",
        "migrate_tso_props",
        "init-vet",
    ),
)

#: vfio-pci.
VFIO_PCI: tuple[Property, ...] = (
    *PCI_DEVICE,
    Property(
        "host",
        Kind.HOST_ADDRESS,
        None,
        "Address (bus/device/function) of the host device, example: 04:10.0",
    ),
    Property("sysfsdev", Kind.TEXT),
    *_bools(
        False,
        "x-enable-migration",
        "x-balloon-allowed",
        "x-no-kvm-intx",
        "x-no-kvm-ioeventfd",
        "x-no-kvm-msi",
        "x-no-kvm-msix",
        "x-no-mmap",
        "x-no-geforce-quirks",
        "x-no-vfio-ioeventfd",
    ),
    *_bits(False, "x-vga", "x-igd-opregion"),
    *_bits(True, "x-req"),
    _choice("display", "off", "OnOffAuto", *_ON_OFF_AUTO),
    _choice("x-pre-copy-dirty-page-tracking", "on", "OnOffAuto", *_ON_OFF_AUTO),
    _choice(
        "x-msix-relocation",
        "off",
        "OffAutoPCIBAR",
        *("off", "auto", "bar0", "bar1", "bar2", "bar3", "bar4", "bar5"),
    ),
    Property("x-intx-mmap-timeout-ms", Kind.UINT32, 1100),
    Property("x-igd-gms", Kind.UINT32, 0),
    Property("xres", Kind.UINT32, 0),
    Property("yres", Kind.UINT32, 0),
    *(
        Property(name, Kind.UINT32, _UINT32_UNSET)
        for name in ("x-pci-vendor-id", "x-pci-device-id")
    ),
    *(
        Property(name, Kind.UINT32, _UINT32_UNSET)
        for name in ("x-pci-sub-vendor-id", "x-pci-sub-device-id")
    ),
    Property(
        "x-nv-gpudirect-clique",
        Kind.UINT8,
        None,
        "NVIDIA GPUDirect Clique ID (0 - 15)",
        type_name="uint4",
    ),
    Property("bootindex", Kind.INT32),
)
