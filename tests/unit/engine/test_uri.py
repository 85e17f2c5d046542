"""engine.uri: what each protocol reads as, QEMU's texts, and the bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.uri import (
    URI_CHARACTERS_MAX,
    ExecUri,
    FdUri,
    FileUri,
    TcpUri,
    UnixUri,
    Uri,
    UriError,
    parse_uri,
)


@pytest.mark.parametrize("incoming", [False, True])
@pytest.mark.parametrize(
    ("text", "uri", "reply_path"),
    [
        ("tcp:127.0.0.1:4444", TcpUri("127.0.0.1", 4444), True),
        ("tcp:node-7.example:65535", TcpUri("node-7.example", 65535), True),
        ("tcp:[fe80::1%eth0]:1", TcpUri("fe80::1%eth0", 1), True),
        ("unix:/run/vm.sock", UnixUri("/run/vm.sock"), True),
        ("unix:with:colon", UnixUri("with:colon"), True),
        ("unix:" + "é" * 53, UnixUri("é" * 53), True),
        ("exec: cat > FILE", ExecUri(" cat > FILE"), False),
        ("fd:migration", FdUri("migration"), None),
        ("fd:7", FdUri("7"), None),
        ("file:/tmp/a,b", FileUri("/tmp/a,b"), False),
        ("file:state,offset=0", FileUri("state"), False),
        ("file:state,offset=4096", FileUri("state", 4096), False),
        ("file:state,offset=1M", FileUri("state", 1 << 20), False),
        ("file:state,offset=2g", FileUri("state", 2 << 30), False),
        ("file:state,offset=0x1000", FileUri("state", 0x1000), False),
    ],
)
def test_what_is_understood(text: str, uri: Uri, reply_path: bool | None, incoming: bool) -> None:
    assert parse_uri(text, incoming=incoming) == uri
    assert uri.reply_path is reply_path


@pytest.mark.parametrize(
    ("text", "uri"),
    [("tcp::4444", TcpUri("", 4444)), ("tcp:0.0.0.0:0", TcpUri("0.0.0.0", 0))],
)
def test_what_only_the_waiting_side_understands(text: str, uri: Uri) -> None:
    assert parse_uri(text, incoming=True) == uri
    with pytest.raises(UriError):
        parse_uri(text, incoming=False)


@pytest.mark.parametrize(
    "text", ["bogus", "", "tcp", "TCP:h:1", " tcp:h:1", "vsock:3:4", "rdma:h:1"]
)
def test_an_unknown_protocol_has_qemu_s_text_for_its_side(text: str) -> None:
    with pytest.raises(UriError) as outgoing:
        parse_uri(text, incoming=False)
    with pytest.raises(UriError) as incoming:
        parse_uri(text, incoming=True)
    assert str(outgoing.value) == "Parameter 'uri' expects a valid migration protocol"
    assert str(incoming.value) == f"unknown migration protocol: {text}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tcp:", "error parsing address ''"),
        ("tcp:host", "error parsing address 'host'"),
        ("tcp:host:", "error parsing address 'host:'"),
        ("tcp::", "error parsing port in address ':'"),
        ("tcp:[::1]", "error parsing IPv6 address '[::1]'"),
        ("tcp:[]:1", "error parsing IPv6 address '[]:1'"),
        ("tcp:h:http", "error parsing port in address 'h:http': expected a number"),
        ("tcp:h:65536", "error parsing port in address 'h:65536': expected a number"),
        ("tcp:h:-1", "error parsing port in address 'h:-1': expected a number"),
        ("tcp:h:٣", "error parsing port in address 'h:٣': expected a number"),
        ("tcp:h:4444,to=5", "error parsing port in address 'h:4444,to=5': expected a number"),
        ("tcp:h:4444,ipv4=on", "error parsing port in address 'h:4444,ipv4=on': expected a number"),
        ("tcp:fe80::1:4444", "an IPv6 address goes in brackets"),
        ("tcp:" + "h" * 256 + ":1", "at most 255 characters"),
        ("unix:", "invalid Unix socket address"),
        ("unix:" + "é" * 54, "is too long"),
        ("exec:", "needs a command"),
        ("exec: ", "needs a command"),
        ("fd:", "needs the name"),
        ("file:", "needs a path"),
        ("file:,offset=1", "needs a path"),
        ("file:f,offset=", "file URI has bad offset : Invalid argument"),
        ("file:f,offset=0x20M", "file URI has bad offset 0x20M: Invalid argument"),
        ("file:f,offset=-1", "file URI has bad offset -1: Invalid argument"),
        ("file:f,offset=8E", "file URI has bad offset 8E: Numerical result out of range"),
        ("unix:a\0b", "zero character"),
        ("unix:" + "a" * URI_CHARACTERS_MAX, "at most"),
    ],
)
def test_what_is_refused_on_both_sides(text: str, said: str) -> None:
    for incoming in (False, True):
        with pytest.raises(UriError) as refused:
            parse_uri(text, incoming=incoming)
        assert said in str(refused.value)
        assert len(str(refused.value)) < 1000


@given(
    st.sampled_from(["tcp:", "tcp:[", "unix:", "exec:", "fd:", "file:", "file:f,offset=", ""]),
    st.text(max_size=40),
    st.booleans(),
)
def test_any_text_is_understood_or_refused(scheme: str, rest: str, incoming: bool) -> None:
    try:
        uri = parse_uri(scheme + rest, incoming=incoming)
    except UriError:
        return
    assert uri.reply_path in (True, False, None)
