"""engine.command_line: what an option line becomes, and what is said about a bad one.

Error texts that QEMU has too were read off QEMU 7.2.22's stderr.
"""

from __future__ import annotations

import errno
import os

import pytest

from devices.guest_memory import RAM_BYTES_MIN
from devices.guest_options import Eject, EjectRule
from devices.options import Options
from engine.command_line import ARGUMENTS_MAX, CommandLineError, VmCommandLine, parse_vm_arguments
from engine.command_line_ignored import IGNORED_ALONE, IGNORED_WITH_ARGUMENT, REFUSED
from engine.command_line_reader import (
    ALONE,
    DEVICES_MAX,
    NAME_BYTES_MAX,
    RAM_BYTES_MAX,
    UUID_NONE,
    WITH_ARGUMENT,
)
from engine.monitor_options import MONITORS_MAX, TcpEndpoint, UnixEndpoint

MIB = 1 << 20
#: A host file with one virtual function.
HOST = '[{"address": "5e:00.2", "mac": "52:54:00:6f:55:cc", "uplink": "unix:/run/vf0"}]'


def no_file(path: str) -> str:
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)


def parse(*arguments: str, incoming_uri: str | None = None) -> VmCommandLine:
    return parse_vm_arguments(arguments, read_file=no_file, incoming_uri=incoming_uri)


def refusal(*arguments: str) -> str:
    with pytest.raises(CommandLineError) as caught:
        parse(*arguments)
    return str(caught.value)


def test_nothing_is_the_default_vm() -> None:
    line = parse()
    configuration = line.configuration
    assert (configuration.name, configuration.uuid) == ("", UUID_NONE)
    assert (configuration.machine, configuration.ram_bytes) == ("q35", 128 * MIB)
    assert (configuration.devices, configuration.netdevs) == ((), ())
    assert configuration.profile.name == "native"
    assert (configuration.start_paused, configuration.ram_preallocated) == (False, False)
    assert configuration.incoming is None
    assert (line.monitors, line.journal_path, line.ignored) == ((), None, ())


def test_a_line_as_libvirt_writes_it() -> None:
    line = parse(
        *("-name", "guest=vm one,debug-threads=on", "-S"),
        *("-object", '{"qom-type":"secret","id":"masterKey0"}'),
        *("-machine", "pc-q35-7.2,usb=off,dump-guest-core=off,memory-backend=pc.ram"),
        *("-accel", "kvm", "-cpu", "host", "-m", "size=2097152k", "-overcommit", "mem-lock=off"),
        *("-smp", "2,sockets=2", "-uuid", "4DEA22B3-1D52-4F99-99D3-A37F6BDBDD10"),
        *("-display", "none", "-no-user-config", "-nodefaults"),
        *("-chardev", "socket,id=charmonitor,path=/run/vm.qmp,server=on,wait=off"),
        *("-mon", "chardev=charmonitor,id=monitor,mode=control"),
        *("-rtc", "base=utc", "-no-shutdown", "-boot", "strict=on"),
        *("-netdev", '{"type":"user","id":"hostnet1"}'),
        *("-device", '{"driver":"pcie-root-port","chassis":1,"id":"root1","bus":"pcie.0"}'),
        *("-device", "virtio-net-pci,netdev=hostnet1,id=net1,mac=52:54:00:6f:55:cc,failover=on"),
        *("-device", "vfio-pci,host=5e:00.2,id=hostdev0,bus=root1,failover_pair_id=net1"),
        *("-chardev", "pty,id=charserial0", "-serial", "chardev:charserial0"),
        *("-sandbox", "on,obsolete=deny", "-msg", "timestamp=on"),
    )
    configuration = line.configuration
    assert (configuration.name, configuration.machine) == ("vm one", "q35")
    assert configuration.uuid == "4dea22b3-1d52-4f99-99d3-a37f6bdbdd10"
    assert configuration.ram_bytes == 2048 * MIB
    assert configuration.start_paused
    assert [netdev.id for netdev in configuration.netdevs] == ["hostnet1"]
    root, standby, primary = configuration.devices
    assert root == Options(
        {"driver": "pcie-root-port", "chassis": 1, "id": "root1", "bus": "pcie.0"}, from_json=True
    )
    assert (standby["failover"], primary["failover_pair_id"]) == ("on", "net1")
    assert line.monitors == (UnixEndpoint("/run/vm.qmp"),)
    assert line.ignored == (
        *("-name debug-threads", "-object", "-machine usb", "-machine dump-guest-core"),
        *("-machine memory-backend", "-accel", "-cpu", "-overcommit", "-smp", "-display"),
        *("-no-user-config", "-rtc", "-no-shutdown", "-boot", "-serial", "-sandbox", "-msg"),
        "-chardev charserial0",
    )


def test_two_dashes_are_one() -> None:
    configuration = parse("--m", "1G", "--S", "--mem-prealloc").configuration
    assert (configuration.ram_bytes, configuration.start_paused) == (1024 * MIB, True)
    assert configuration.ram_preallocated


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("256", 256 * MIB),
        ("1.5G", 1536 * MIB),
        ("size=64M,slots=2,maxmem=1T", 64 * MIB),
        ("1048576b", MIB),
        ("1028k", MIB + 4096),
        ("0", 128 * MIB),
        ("slots=2", 128 * MIB),
        (f"{RAM_BYTES_MIN}b", RAM_BYTES_MIN),
    ],
)
def test_ram(text: str, size_bytes: int) -> None:
    assert parse("-m", text).configuration.ram_bytes == size_bytes


def test_of_what_says_one_thing_the_last_counts_and_keys_add_up() -> None:
    line = parse(
        *("-m", "1G", "-m", "512", "-m", "slots=4", "-name", "a", "-name", "process=b"),
        *("-M", "q35", "-machine", "type=pc,accel=kvm", "-machine", "accel=tcg"),
        *("-journal", "/a", "-journal", "/b", "-guest", "dirty=1M,seed=4", "-guest", "seed=5"),
        *("-profile", "nosuch", "-profile", "qemu-7.2"),
        *("-global", "replug.poll_ms=5", "-global", "replug.poll_ms=7"),
    )
    configuration = line.configuration
    assert (configuration.ram_bytes, configuration.name) == (512 * MIB, "a")
    assert (configuration.machine, line.journal_path) == ("pc", "/b")
    assert (configuration.guest.dirty_per_second_bytes, configuration.guest.seed) == (MIB, 5)
    assert (configuration.profile.name, configuration.profile.timings.poll_ms) == ("qemu-7.2", 7.0)
    assert line.ignored == ("-m slots", "-name process", "-machine accel")


@pytest.mark.parametrize(
    ("text", "machine"),
    [("q35", "q35"), ("pc", "pc"), ("type=pc-i440fx-7.2", "pc"), ("pc-q35-10.0", "q35")],
)
def test_machine(text: str, machine: str) -> None:
    assert parse("-machine", text).configuration.machine == machine


def test_the_guest_and_its_settings() -> None:
    guest = parse("-guest", "eject=5s,standby=off").configuration.guest
    assert guest.eject == Eject(EjectRule.DELAYED, 5000.0)
    assert not guest.standby
    assert guest.given == {"eject", "standby"}


def test_globals_that_count_and_globals_that_do_not() -> None:
    line = parse(
        *("-global", "driver=replug,property=heartbeat_interval_ms,value=20"),
        *("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=n"),
        *("-global", "kvm-pit.lost_tick_policy=delay"),
    )
    profile = line.configuration.profile
    assert profile.timings.heartbeat_interval_ms == 20.0
    assert profile.policies["hotplug"] == "native"
    assert parse().configuration.profile.policies["hotplug"] == "acpi"
    assert line.ignored == ("-global kvm-pit.lost_tick_policy",)


def test_the_host_file_is_read_by_who_calls() -> None:
    asked = []

    def read_file(path: str) -> str:
        asked.append(path)
        return HOST

    line = parse_vm_arguments(["-host", "/etc/host.json"], read_file=read_file)
    assert asked == ["/etc/host.json"]
    function = line.configuration.inventory.virtual_function("5e:00.2", "00:00:00:00:00:00")
    assert (function.mac, function.uplink) == ("52:54:00:6f:55:cc", "unix:/run/vf0")


def test_incoming() -> None:
    assert parse("-incoming", "defer").configuration.incoming == "defer"
    assert parse("-incoming", "tcp::4444").configuration.incoming == "tcp::4444"
    line = parse("-m", "64", incoming_uri="unix:/run/stream")
    assert line.configuration.incoming == "unix:/run/stream"
    with pytest.raises(CommandLineError, match=r"^incoming foo:1: unknown migration protocol: foo"):
        parse(incoming_uri="foo:1")
    with pytest.raises(CommandLineError, match="has its URI as an argument already: defer"):
        parse("-incoming", "tcp::0", incoming_uri="defer")


@pytest.mark.parametrize(
    ("arguments", "endpoint", "ignored"),
    [
        (("-qmp", "unix:/a,,b,server=on,wait=off"), UnixEndpoint("/a,b"), ()),
        (("-qmp", "unix:/a,server,nowait"), UnixEndpoint("/a"), ()),
        (("-qmp", "unix:/a,server=on"), UnixEndpoint("/a"), ("-qmp wait=on",)),
        (("-qmp", "unix:path=/a,server=y,wait=n"), UnixEndpoint("/a"), ()),
        (("-qmp", "tcp:localhost:0,server=on,wait=off"), TcpEndpoint("localhost", 0), ()),
        (("-qmp", "tcp::4444,server,nowait,nodelay"), TcpEndpoint("", 4444), ("-qmp delay",)),
        (("-qmp", "tcp:[::1]:4444,server,nowait"), TcpEndpoint("::1", 4444), ()),
        (
            ("-qmp-pretty", "unix:/a,server,nowait,telnet=off"),
            UnixEndpoint("/a"),
            ("-qmp pretty",),
        ),
        (
            (
                *("-mon", "chardev=c,mode=control,pretty=on"),
                *("-chardev", "socket,id=c,host=::1,port=1,server=on,wait=off,ipv4=off"),
            ),
            TcpEndpoint("::1", 1),
            ("-mon pretty", "-chardev ipv4"),
        ),
        (
            ("-chardev", "socket,id=c,port=1,server=on,wait=off", "-qmp", "chardev:c"),
            TcpEndpoint("", 1),
            (),
        ),
    ],
)
def test_a_monitor(
    arguments: tuple[str, ...], endpoint: UnixEndpoint | TcpEndpoint, ignored: tuple[str, ...]
) -> None:
    line = parse(*arguments)
    assert line.monitors == (endpoint,)
    assert line.ignored == ignored


def test_monitors_keep_their_order_and_human_ones_are_ignored() -> None:
    line = parse(
        *("-mon", "chardev=b,mode=control", "-qmp", "unix:/a,server,nowait"),
        *("-mon", "nosuch", "-chardev", "socket,id=b,path=/b,server=on,wait=off"),
        *("-chardev", "socket,id=client,path=/c"),
    )
    assert line.monitors == (UnixEndpoint("/b"), UnixEndpoint("/a"))
    assert line.ignored == ("-mon mode=readline", "-chardev client")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-foo",), "-foo: invalid option"),
        (("--foo",), "--foo: invalid option"),
        (("-devic", "x"), "-devic: invalid option (nearest: -device"),
        (("-",), "-: invalid option"),
        (("--",), "--: invalid option"),
        (("-device",), "-device: requires an argument"),
        (("-smp",), "-smp: requires an argument"),
        (("disk.img",), "disk.img: expected an option, which begins with '-'"),
        (("-daemonize",), "-daemonize: replug stays in the foreground"),
        (("-qtest", "unix:/q"), "-qtest unix:/q: there is no qtest server"),
        (("-nic", "user"), "-nic user: is not offered here: write -netdev and -device"),
        (("-m", "1Q"), "-m 1Q: Parameter 'size' expects a non-negative number below 2^64"),
        (("-m", "size=1G,foo=1"), "-m size=1G,foo=1: Invalid parameter 'foo'"),
        (("-m", "1025b"), "-m 1025b: Expected 1024K to 1024G of RAM in whole pages of 4096"),
        (("-m", f"{RAM_BYTES_MIN - 4096}b"), f"-m {RAM_BYTES_MIN - 4096}b: Expected 1024K"),
        (("-m", f"{RAM_BYTES_MAX + 4096}b"), f"-m {RAM_BYTES_MAX + 4096}b: Expected 1024K"),
        (("-m", '{"size":1}'), '-m {"size":1}: Expected key=value, got JSON'),
        (("-name", "a,guest=b,foo=1"), "-name a,guest=b,foo=1: Invalid parameter 'foo'"),
        (("-name", "é" * 128), f"-name {'é' * 128}: Expected a name of at most {NAME_BYTES_MAX}"),
        (("-name", "a\udcff"), "-name a\\udcff: Expected a name in UTF-8"),
        (("-uuid", "zz"), "-uuid zz: failed to parse UUID string: wrong format"),
        (("-M", "nosuch"), "-M nosuch: unsupported machine type"),
        (("-global", "foo"), "-global foo: Invalid parameter 'foo'"),
        (("-global", "driver=a,value=c"), "-global driver=a,value=c: Parameter 'property' is miss"),
        (("-global", "replug.nosuch=1"), "-global replug.nosuch=1: expected one of replug.poll_ms"),
        (("-global", "replug.poll_ms=x"), "-global replug.poll_ms=x: expected one of replug.poll"),
        (
            ("-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=2"),
            "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=2: Parameter 'ICH9-LPC.acpi-pci-"
            "hotplug-with-bridge-support' expects 'on' or 'off'",
        ),
        (("-profile", "qemu-1"), "-profile qemu-1: expected a profile: native, qemu-7.2"),
        (("-guest", "eject=maybe"), "-guest eject=maybe: Guest option 'eject' expects prompt"),
        (("-guest", "foo=1"), "-guest foo=1: The guest has no option 'foo'"),
        (
            ("-host", "/nosuch"),
            "-host /nosuch: Could not open '/nosuch': No such file or directory",
        ),
        (("-journal", ""), "-journal : Expected the path of a file"),
        (("-incoming", "foo:1"), "-incoming foo:1: unknown migration protocol: foo:1"),
        (("-device", "nosuch"), "-device nosuch: 'nosuch' is not a valid device model name"),
        (("-device", "{"), "-device {: JSON parse error, premature EOI"),
        (("-device", "id=a"), "-device id=a: Parameter 'driver' is missing"),
        (("-device", "e1000,id=1a"), "-device e1000,id=1a: Parameter 'id' expects an identifier"),
        (
            ("-device", "e1000,id=a", "-device", "e1000e,id=a"),
            "-device e1000e,id=a: Duplicate ID 'a' for device",
        ),
        (("-netdev", "user"), "-netdev user: Parameter 'id' is missing"),
        (
            ("-netdev", "user,id=a", "-netdev", "hubport,id=a,hubid=0"),
            "-netdev hubport,id=a,hubid=0: Duplicate ID 'a' for netdev",
        ),
        (
            ("-netdev", '{"type":"user","id":"a"}', "-netdev", "user,id=a"),
            "-netdev user,id=a: Duplicate ID 'a'",
        ),
    ],
)
def test_complaints(arguments: tuple[str, ...], text: str) -> None:
    assert refusal(*arguments).startswith(text)


def test_a_second_id_in_another_syntax_is_worded_as_qemu_words_it() -> None:
    # The last complaint above would also begin with the longer text.
    assert refusal("-netdev", '{"type":"user","id":"a"}', "-netdev", "user,id=a").endswith("'a'")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("-qmp", "nosuch"), "-qmp nosuch: parse error: nosuch"),
        (("-qmp", "tcp:localhost"), "-qmp tcp:localhost: parse error: tcp:localhost"),
        (("-qmp", "unix:/a,server,foo=1"), "-qmp unix:/a,server,foo=1: Invalid parameter 'foo'"),
        (("-qmp", "unix:/a,noserver"), "-qmp unix:/a,noserver: A monitor here listens"),
        (("-qmp", "unix:/a,server=maybe"), "-qmp unix:/a,server=maybe: Parameter 'server' expects"),
        (("-qmp", "unix:,server=on"), "-qmp unix:,server=on: Expected the path of a socket"),
        (("-qmp", "unix:path=,server=on"), "-qmp unix:path=,server=on: Expected the path of a"),
        (
            ("-qmp", f"unix:/{'x' * 107},server=on"),
            f"-qmp unix:/{'x' * 107},server=on: UNIX socket path '/{'x' * 107}' is too long",
        ),
        (("-qmp", "tcp:a:b,server"), "-qmp tcp:a:b,server: Expected a port number"),
        (("-qmp", "tcp:a:65536,server"), "-qmp tcp:a:65536,server: Expected a port number"),
        (("-qmp", "unix:/a,server,telnet"), "-qmp unix:/a,server,telnet: 'telnet' is not offered"),
        (("-qmp", "chardev:x"), '-qmp chardev:x: chardev "x" not found'),
        (("-mon", "x,mode=control"), '-mon x,mode=control: chardev "x" not found'),
        (("-mon", "mode=control"), "-mon mode=control: Parameter 'chardev' is missing"),
        (("-mon", "a,mode=x"), "-mon a,mode=x: Parameter 'mode' does not accept value 'x'"),
        (("-mon", "a,foo=1"), "-mon a,foo=1: Invalid parameter 'foo'"),
        (("-mon", "a,pretty=x"), "-mon a,pretty=x: Parameter 'pretty' expects 'on' or 'off'"),
        (("-chardev", "socket"), "-chardev socket: chardev: no id specified"),
        (("-chardev", "id=a"), '-chardev id=a: chardev: "a" missing backend'),
        (("-chardev", "nosuch,id=a"), "-chardev nosuch,id=a: 'nosuch' is not a valid char driver"),
        (("-chardev", "socket,id=a,foo=1"), "-chardev socket,id=a,foo=1: Invalid parameter 'foo'"),
        (
            ("-chardev", "socket,id=a,path=/a", "-chardev", "pty,id=a"),
            "-chardev pty,id=a: Duplicate ID 'a' for chardev",
        ),
        (
            ("-chardev", "pty,id=a", "-mon", "a,mode=control"),
            "-mon a,mode=control: chardev 'a' is of type pty",
        ),
        (
            ("-chardev", "socket,id=a,host=l,server=on", "-mon", "a,mode=control"),
            "-mon a,mode=control: chardev: socket: no port given",
        ),
        (
            ("-chardev", "socket,id=a,fd=7,server=on", "-mon", "a,mode=control"),
            "-mon a,mode=control: 'fd' is not offered",
        ),
        (
            ("-chardev", "socket,id=a,path=/a,port=1,server=on", "-mon", "a,mode=control"),
            "-mon a,mode=control: Expected either path= or host= and port=",
        ),
        (
            (
                *("-chardev", "socket,id=a,path=/a,server=on"),
                *("-mon", "a,mode=control", "-mon", "chardev=a,mode=control"),
            ),
            "-mon chardev=a,mode=control: Device 'a' is in use",
        ),
    ],
)
def test_complaints_about_monitors(arguments: tuple[str, ...], text: str) -> None:
    assert refusal(*arguments).startswith(text)


def test_hints_go_below_the_complaint() -> None:
    with pytest.raises(CommandLineError) as caught:
        parse("-device", "e1000,id=1a")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("Identifiers consist of letters")


def test_everything_is_bounded() -> None:
    assert "at most 4096 arguments" in refusal(*["-S"] * (ARGUMENTS_MAX + 1))
    devices = ["-device", "e1000"] * (DEVICES_MAX + 1)
    assert f"at most {DEVICES_MAX} devices" in refusal(*devices)
    monitors = ["-qmp", "unix:/a,server,nowait"] * (MONITORS_MAX + 1)
    assert f"at most {MONITORS_MAX} monitors" in refusal(*monitors)
    assert "at most 65536 bytes" in refusal("-incoming", "exec:" + "x" * 70_000)
    assert len(refusal("-" + "x" * 100_000)) < 2000
    assert "zero character" in refusal("-journal", "a\0b")


def test_harmless_network_options_are_ignored() -> None:
    assert parse("-nic", "none", "-net", "none").ignored == ("-nic", "-net")


def test_every_option_is_in_one_table() -> None:
    tables = [WITH_ARGUMENT, ALONE, IGNORED_WITH_ARGUMENT, IGNORED_ALONE, REFUSED]
    assert len({name for table in tables for name in table}) == sum(len(table) for table in tables)


@pytest.mark.parametrize("name", sorted(IGNORED_ALONE | IGNORED_WITH_ARGUMENT))
def test_every_ignored_option_is_accepted_and_named_once(name: str) -> None:
    one = [f"-{name}", "x"] if name in IGNORED_WITH_ARGUMENT else [f"-{name}"]
    assert parse(*one, "-S", *one).ignored == (f"-{name}",)
