"""Option lines that are made from a VM describe that VM, and any other is read or refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from devices.guest_options import Eject, EjectRule, GuestOptions, format_guest_options
from devices.options import Options, format_options
from engine.command_line import CommandLineError, VmCommandLine, parse_vm_arguments
from engine.command_line_ignored import IGNORED_ALONE, IGNORED_WITH_ARGUMENT
from engine.command_line_reader import ALONE, WITH_ARGUMENT
from engine.monitor_options import MonitorEndpoint, TcpEndpoint, UnixEndpoint

_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
_identifiers = st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True)
_properties = _identifiers.filter(lambda name: name not in ("driver", "id"))
_device_values = st.one_of(st.integers(0, 2**63), st.booleans(), _text)


@st.composite
def _devices(draw: st.DrawFn) -> list[Options]:
    devices = []
    for identity in draw(st.lists(_identifiers, unique=True, max_size=4)):
        from_json = draw(st.booleans())
        values = draw(
            st.dictionaries(_properties, _device_values if from_json else _text, max_size=3)
        )
        named = {"driver": draw(st.sampled_from(["e1000e", "virtio-net"])), **values}
        devices.append(Options({**named, "id": identity}, from_json=from_json))
    return devices


_endpoints: st.SearchStrategy[MonitorEndpoint] = st.one_of(
    st.builds(UnixEndpoint, _text.map(lambda text: f"/{text}")),
    st.builds(
        TcpEndpoint, st.sampled_from(["", "localhost", "::1", "10.0.0.1"]), st.integers(0, 65535)
    ),
)


def _qmp(endpoint: MonitorEndpoint) -> str:
    if isinstance(endpoint, UnixEndpoint):
        return f"unix:{endpoint.path.replace(',', ',,')},server=on,wait=off"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"tcp:{host}:{endpoint.port},server,nowait"


def _chardev(endpoint: MonitorEndpoint, identity: str) -> list[str]:
    if isinstance(endpoint, UnixEndpoint):
        values = {"path": endpoint.path}
    else:
        values = {"host": endpoint.host, "port": str(endpoint.port)}
    both = {"backend": "socket", "id": identity, **values, "server": "on", "wait": "off"}
    text = format_options(Options(both), "backend")
    return ["-mon", f"{identity},mode=control", "-chardev", text]


@given(
    name=_text,
    pages=st.integers(256, 1 << 20),
    devices=_devices(),
    endpoints=st.lists(st.tuples(_endpoints, st.booleans()), max_size=4),
    guest=st.builds(
        GuestOptions,
        eject=st.builds(Eject, st.sampled_from([EjectRule.NEVER, EjectRule.RESUMED])),
        standby=st.booleans(),
        seed=st.integers(0, 2**64 - 1),
    ),
)
def test_a_written_vm_is_read_back(
    name: str,
    pages: int,
    devices: list[Options],
    endpoints: list[tuple[MonitorEndpoint, bool]],
    guest: GuestOptions,
) -> None:
    arguments = ["-name", format_options(Options({"guest": name}), "guest")]
    arguments += ["-m", f"{pages * 4}k", "-guest", format_guest_options(guest)]
    for device in devices:
        arguments += ["-device", format_options(device, "driver")]
    for number, (endpoint, directly) in enumerate(endpoints):
        arguments += ["-qmp", _qmp(endpoint)] if directly else _chardev(endpoint, f"c{number}")
    line = parse_vm_arguments(arguments, read_file=str)
    configuration = line.configuration
    assert (configuration.name, configuration.ram_bytes) == (name, pages * 4096)
    assert list(configuration.devices) == devices
    assert line.monitors == tuple(endpoint for endpoint, _ in endpoints)
    assert configuration.guest == guest
    assert line.ignored == ()


def _read(arguments: list[str]) -> VmCommandLine | CommandLineError:
    try:
        return parse_vm_arguments(arguments, read_file=str)
    except CommandLineError as error:
        return error


_names = sorted({*WITH_ARGUMENT, *ALONE, *IGNORED_ALONE, *IGNORED_WITH_ARGUMENT})
_values = st.one_of(
    _text,
    st.sampled_from(
        [
            *("e1000e,id=a", "user,id=a", "1G", "unix:/a,server,nowait", "socket,id=a,path=/a"),
            *("a,mode=control", "replug.poll_ms=1", "native", "seed=1", "q35", "defer"),
        ]
    ),
    st.text(st.sampled_from('=,:{}[]"a1./\udcff\0'), max_size=20),
)


@given(st.lists(st.tuples(st.sampled_from(_names), _values), max_size=6))
def test_any_line_is_read_or_refused(options: list[tuple[str, str]]) -> None:
    arguments = []
    for name, value in options:
        alone = name in ALONE or name in IGNORED_ALONE
        arguments += [f"-{name}"] if alone else [f"-{name}", value]
    line = _read(arguments)
    if isinstance(line, CommandLineError):
        assert str(line).startswith("-")
        return
    assert len(line.ignored) == len(set(line.ignored))
    assert len(line.configuration.devices) == sum(name == "device" for name, _ in options)


@given(st.lists(_text, max_size=5))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    line = _read(words)
    if isinstance(line, CommandLineError):
        assert str(line).isprintable() or not all(word.isprintable() for word in words)
