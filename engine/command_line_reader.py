"""What each option of `replug vm` and `replug incoming` says, gathered into one VM.

What may live here: one reader method for each option that means something, and what they have
read so far. Which options there are besides, and in which form, is for `engine.command_line`.

Rules kept (QEMU: softmmu/vl.c qemu_init):
- of an option that says one thing the last counts; keys of -m, -name, -machine and -guest add up;
- ids of -device and of -netdev are unique among themselves;
- a method raises what `naming` knows and has then changed nothing that counts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from devices import texts
from devices.catalogue import check_driver
from devices.guest_memory import RAM_BYTES_MIN
from devices.guest_options import parse_guest_options, read_guest_options
from devices.inventory import Inventory, parse_inventory
from devices.netdev import Netdev, NetdevTable, parse_netdev
from devices.options import (
    OptionError,
    Options,
    OptionValue,
    check_identifier,
    parse_bool,
    parse_options,
    parse_size,
)
from devices.pci import MachineType
from devices.ram import PAGE_BYTES
from engine.command_line_error import naming, shown
from engine.configuration import VmConfiguration
from engine.monitor_options import (
    MonitorEndpoint,
    MonitorOptions,
    PendingMonitor,
    parse_text_options,
)
from engine.profile import BRIDGE_HOTPLUG, PROFILE_NAMES, Profile, load_profile
from engine.uri import parse_uri

#: Most -device options (as many as the stream's HELLO can list).
DEVICES_MAX = 1024
#: Longest -name, in bytes of UTF-8 (as long as the stream's HELLO can say).
NAME_BYTES_MAX = 255
#: RAM without -m (QEMU's default_ram_size).
RAM_BYTES_DEFAULT = 128 << 20
#: Most RAM: what the 40 address bits of QEMU's default CPU reach.
RAM_BYTES_MAX = 1 << 40
#: The UUID of a VM without -uuid.
UUID_NONE = "00000000-0000-0000-0000-000000000000"

_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_GLOBAL = re.compile(
    r"(?P<driver>[^.=,]{1,63})\.(?P<property>[^=,]{1,63})=(?P<value>.*)", re.DOTALL
)
#: The machine types of each kind that a management program writes have its version in them.
_MACHINES: tuple[tuple[re.Pattern[str], MachineType], ...] = (
    (re.compile(r"q35|pc-q35-[0-9]{1,2}\.[0-9]{1,2}"), "q35"),
    (re.compile(r"pc|pc-i440fx-[0-9]{1,2}\.[0-9]{1,2}"), "pc"),
)


class OptionReader:
    """What has been read of one option line so far."""

    #: -journal, or None.
    journal_path: str | None

    def __init__(self, read_file: Callable[[str], str], incoming_uri: str | None) -> None:
        """Start with QEMU's defaults; `incoming_uri` takes the place of -incoming."""
        self._read_file = read_file
        self._positional_uri = incoming_uri
        self._incoming: str | None = None
        self._name = ""
        self._uuid = UUID_NONE
        self._machine: MachineType = "q35"
        self._ram_bytes = RAM_BYTES_DEFAULT
        self._ram_preallocated = False
        self._netdevs = NetdevTable()
        self._text_ids: dict[str, set[str]] = {"device": set(), "netdev": set()}
        self._devices: list[Options] = []
        self._profile = PROFILE_NAMES[0]
        self._profile_written = "-profile"
        self._settings: dict[str, tuple[str, str]] = {}
        self._guest: dict[str, OptionValue] = {}
        self._inventory = Inventory()
        self._start_paused = False
        self.journal_path = None
        self._monitor_options = MonitorOptions()
        self._monitors: list[tuple[str, PendingMonitor]] = []
        self._ignored: dict[str, None] = {}
        if incoming_uri is not None:
            with naming(f"incoming {shown(incoming_uri)}"):
                self._set_incoming(incoming_uri)

    def configuration(self) -> VmConfiguration:
        """Return the VM that was described; CommandLineError if profile and settings clash."""
        return VmConfiguration(
            name=self._name,
            uuid=self._uuid,
            machine=self._machine,
            ram_bytes=self._ram_bytes,
            ram_preallocated=self._ram_preallocated,
            netdevs=tuple(self._netdevs),
            devices=tuple(self._devices),
            profile=self._load_profile(),
            guest=read_guest_options(self._guest),
            inventory=self._inventory,
            start_paused=self._start_paused,
            incoming=self._incoming,
        )

    def monitors(self) -> tuple[MonitorEndpoint, ...]:
        """Return where the monitors listen; CommandLineError if one has no place to."""
        endpoints = []
        for option, monitor in self._monitors:
            with naming(option):
                endpoints.append(self._monitor_options.resolve(monitor))
        for item in self._monitor_options.ignored:
            self.ignore(item)
        for identity in self._monitor_options.unused():
            self.ignore(f"-chardev {identity}")
        return tuple(endpoints)

    def ignore(self, item: str) -> None:
        """Note that something was accepted and has no effect."""
        self._ignored[item] = None

    def ignored(self) -> tuple[str, ...]:
        """Return what was accepted and has no effect, each once, in order."""
        return tuple(self._ignored)

    def start_paused(self) -> None:
        """Take -S."""
        self._start_paused = True

    def preallocate_memory(self) -> None:
        """Take -mem-prealloc."""
        self._ram_preallocated = True

    def no_defaults(self) -> None:
        """Take -nodefaults: there are no default devices here."""

    def _load_profile(self) -> Profile:
        with naming(self._profile_written):
            load_profile(self._profile, {})
        # One at a time first, so that a complaint names its own option.
        for key, (option, value) in self._settings.items():
            with naming(option):
                load_profile(self._profile, {key: value})
        settings = {key: value for key, (_, value) in self._settings.items()}
        return load_profile(self._profile, settings)

    # One method for each option that means something; each may raise what `_naming` knows.

    def read_device(self, option: str, text: str) -> None:
        options = parse_options(text, implied="driver")
        if len(self._devices) >= DEVICES_MAX:
            raise OptionError(f"Expected at most {DEVICES_MAX} devices, got one more")
        # Of JSON options the id is looked at when the device is created, with another text.
        if not options.from_json and "id" in options:
            identity = check_identifier("id", str(options["id"]))
            if identity in self._text_ids["device"]:
                raise OptionError(texts.DEVICE_OPTION_ID_DUPLICATE % identity)
            self._text_ids["device"].add(identity)
        check_driver(options)
        self._devices.append(options)

    def read_netdev(self, option: str, text: str) -> None:
        options = parse_options(text, implied="type")
        netdev = parse_netdev(options)
        known = self._text_ids["netdev"]
        # QEMU reads these with another parser, which words a second use of an id otherwise.
        modern = options.from_json or _is_modern(netdev)
        self._netdevs.add(netdev, from_json=modern or netdev.id not in known)
        if not modern:
            known.add(netdev.id)

    def read_memory(self, option: str, text: str) -> None:
        for key, value in parse_text_options(text, implied="size").items():
            if key in ("slots", "maxmem"):
                self.ignore(f"-m {key}")
            elif key != "size":
                raise OptionError(texts.PARAMETER_INVALID % key)
            elif value:
                self._set_ram(str(value))

    def _set_ram(self, text: str) -> None:
        size_bytes = parse_size(text, default_unit="M") or RAM_BYTES_DEFAULT
        if size_bytes % PAGE_BYTES or not RAM_BYTES_MIN <= size_bytes <= RAM_BYTES_MAX:
            raise OptionError(
                f"Expected {RAM_BYTES_MIN >> 10}K to {RAM_BYTES_MAX >> 30}G of RAM in whole pages "
                f"of {PAGE_BYTES} bytes, got {size_bytes} bytes"
            )
        self._ram_bytes = size_bytes

    def read_machine(self, option: str, text: str) -> None:
        for key, value in parse_text_options(text, implied="type").items():
            if key != "type":
                self.ignore(f"-machine {key}")
                continue
            for pattern, machine in _MACHINES:
                if pattern.fullmatch(str(value)):
                    self._machine = machine
                    break
            else:
                raise OptionError("unsupported machine type", hint="Supported are q35 and pc")

    def read_name(self, option: str, text: str) -> None:
        for key, value in parse_text_options(text, implied="guest").items():
            if key in ("process", "debug-threads"):
                self.ignore(f"-name {key}")
            elif key != "guest":
                raise OptionError(texts.PARAMETER_INVALID % key)
            else:
                self._set_name(str(value))

    def _set_name(self, name: str) -> None:
        try:
            size_bytes = len(name.encode("utf-8"))
        except UnicodeEncodeError:
            raise OptionError("Expected a name in UTF-8") from None
        if size_bytes > NAME_BYTES_MAX:
            raise OptionError(
                f"Expected a name of at most {NAME_BYTES_MAX} bytes, got {size_bytes}"
            )
        self._name = name

    def read_uuid(self, option: str, text: str) -> None:
        if _UUID.fullmatch(text) is None:
            raise OptionError(
                "failed to parse UUID string: wrong format", hint=f"Expected one like {UUID_NONE}"
            )
        self._uuid = text.lower()

    def read_incoming(self, option: str, text: str) -> None:
        if self._positional_uri is not None:
            raise OptionError(
                f"replug incoming has its URI as an argument already: {self._positional_uri}"
            )
        self._set_incoming(text)

    def _set_incoming(self, text: str) -> None:
        if text != "defer":
            parse_uri(text, incoming=True)
        self._incoming = text

    def read_global(self, option: str, text: str) -> None:
        if match := _GLOBAL.fullmatch(text):
            driver, name, value = match["driver"], match["property"], match["value"]
        else:
            driver, name, value = _global_members(parse_text_options(text))
        key = f"{driver}.{name}"
        if key == BRIDGE_HOTPLUG:
            value = "on" if parse_bool(key, value) else "off"
        elif driver != "replug":
            self.ignore(f"-global {key}")
            return
        self._settings[key] = (option, value)

    def read_profile(self, option: str, text: str) -> None:
        self._profile, self._profile_written = text, option

    def read_guest(self, option: str, text: str) -> None:
        # Read by itself, so that a complaint names this option; the keys of all add up.
        parse_guest_options(text)
        self._guest.update(parse_options(text))

    def read_host(self, option: str, text: str) -> None:
        try:
            inventory_text = self._read_file(text)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OptionError(f"Could not open '{text}': {reason}") from error
        except UnicodeError as error:
            raise OptionError(f"Expected '{text}' to be UTF-8 text") from error
        self._inventory = parse_inventory(inventory_text)

    def read_journal(self, option: str, text: str) -> None:
        if not text:
            raise OptionError("Expected the path of a file")
        self.journal_path = text

    def read_qmp(self, option: str, text: str) -> None:
        self._monitors.append((option, self._monitor_options.read_qmp(text)))

    def read_qmp_pretty(self, option: str, text: str) -> None:
        self.read_qmp(option, text)
        self.ignore("-qmp pretty")

    def read_chardev(self, option: str, text: str) -> None:
        self._monitor_options.read_chardev(text)

    def read_mon(self, option: str, text: str) -> None:
        monitor = self._monitor_options.read_mon(text)
        if monitor is not None:
            self._monitors.append((option, monitor))


def _is_modern(netdev: Netdev) -> bool:
    return netdev.type in ("stream", "dgram")


def _global_members(options: Options) -> tuple[str, str, str]:
    for name in options:
        if name not in ("driver", "property", "value"):
            raise OptionError(texts.PARAMETER_INVALID % name)
    for name in ("driver", "property", "value"):
        if name not in options:
            raise OptionError(texts.PARAMETER_MISSING % name)
    return str(options["driver"]), str(options["property"]), str(options["value"])


#: The options that are carried out and have no argument.
ALONE: Mapping[str, Callable[[OptionReader], None]] = MappingProxyType(
    {
        "S": OptionReader.start_paused,
        "mem-prealloc": OptionReader.preallocate_memory,
        "nodefaults": OptionReader.no_defaults,
    }
)

#: The options that are carried out with an argument. Each is given the option as it was written,
#: for complaints that come later, and its argument.
WITH_ARGUMENT: Mapping[str, Callable[[OptionReader, str, str], None]] = MappingProxyType(
    {
        "M": OptionReader.read_machine,
        "chardev": OptionReader.read_chardev,
        "device": OptionReader.read_device,
        "global": OptionReader.read_global,
        "guest": OptionReader.read_guest,
        "host": OptionReader.read_host,
        "incoming": OptionReader.read_incoming,
        "journal": OptionReader.read_journal,
        "m": OptionReader.read_memory,
        "machine": OptionReader.read_machine,
        "mon": OptionReader.read_mon,
        "name": OptionReader.read_name,
        "netdev": OptionReader.read_netdev,
        "profile": OptionReader.read_profile,
        "qmp": OptionReader.read_qmp,
        "qmp-pretty": OptionReader.read_qmp_pretty,
        "uuid": OptionReader.read_uuid,
    }
)
