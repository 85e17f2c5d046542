"""Ethernet frames of the test traffic: building them and reading them.

What may live here: the layout of four kinds of frame. Who sends which frame when is not said.
A frame is 14 bytes of header and a payload, without the checksum, at least 60 bytes long.

    numbered   0x88B5 (IEEE 802 local experimental 1): u64 sequence, u8 flow, u64 sent_ns
               (0: not stamped). Numbers are per sender and flow; gaps and repeats show.
    announce   0x8035 (RARP, RFC 903), to all: a request reverse for one's own address, as
               QEMU's announce_self_create sends it, so that switches learn where the address is.
    control    0x8940 (the ethertype of IEEE 802.1Qbg), to 01:80:c2:00:00:00: u8 version = 1,
               u8 operation, 6 bytes of address. In the spirit of that standard's VSI discovery
               (VDP): a NIC's port asks its switch port to ASSOCIATE an address with it, or to
               DEASSOCIATE it, and is answered once that has taken effect, that is, when every
               frame which the switch had sent elsewhere (ASSOCIATED), or to this very port
               (DEASSOCIATED), has been written. It stays on the link: no switch forwards it.
    plain      anything else, kept as it is.

All numbers are big-endian. Addresses are 6 bytes; `mac_bytes` and `mac_text` convert.
What is too short or too long, or of a version or operation that is not known, is a FrameError.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import TypeAlias

#: The shortest frame on the wire, without checksum (IEEE 802.3 §3.2.8).
FRAME_BYTES_MIN = 60
#: The longest frame accepted (room for any offloaded segment; QEMU's NET_BUFSIZE is 68 KiB).
FRAME_BYTES_MAX = 64 << 10
#: Bytes before the payload: two addresses and the ethertype.
HEADER_BYTES = 14
#: Bytes in an address.
MAC_BYTES = 6
#: The address of all stations.
BROADCAST = b"\xff" * MAC_BYTES
#: Where control frames go: the nearest customer bridge, which never forwards them.
NEAREST_BRIDGE = bytes.fromhex("0180c2000000")

ETHERTYPE_NUMBERED = 0x88B5
ETHERTYPE_ANNOUNCE = 0x8035
ETHERTYPE_CONTROL = 0x8940

_CONTROL_VERSION = 1
_HEADER = Struct("!6s6sH")
_NUMBERED = Struct("!6s6sHQBQ")
_CONTROL = Struct("!6s6sHBB6s")
_ANNOUNCE = Struct("!6s6sHHHBBH6s4s6s4s")
_RARP_FIXED = (1, 0x0800, MAC_BYTES, 4, 3)  # Ethernet, IPv4, the two lengths, request reverse
_NO_ADDRESS = b"\0\0\0\0"
_MAC_PATTERN = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class FrameError(ValueError):
    """A frame, or an address, that cannot be read or built."""


class ControlOperation(IntEnum):
    """What a control frame asks or answers; the values are those on the wire."""

    #: The port asks that the address be directed to it.
    ASSOCIATE = 1
    #: The port asks that the address be directed to it no longer.
    DEASSOCIATE = 2
    #: The switch: the address is directed to this port, and nothing sent elsewhere is under way.
    ASSOCIATED = 3
    #: The switch: nothing follows for the address; all that was sent to this port came before.
    DEASSOCIATED = 4


@dataclass(frozen=True, slots=True)
class NumberedFrame:
    """A frame that can be missed and recognised."""

    #: Whose it is to receive.
    receiver: bytes
    #: Who sends it.
    sender: bytes
    #: Its number: 0, 1, 2, … within its sender and flow.
    sequence: int
    #: Which series of numbers it belongs to, such as the direction: 0..255.
    flow: int
    #: When it was sent, on the sender's clock in nanoseconds; 0 when that is not measured.
    sent_ns: int = 0


@dataclass(frozen=True, slots=True)
class AnnounceFrame:
    """A gratuitous announcement of where an address is."""

    #: The address that is announced, which is also its sender.
    mac: bytes


@dataclass(frozen=True, slots=True)
class ControlFrame:
    """A word between a NIC's port and its switch port about one address."""

    #: What is asked or answered.
    operation: ControlOperation
    #: The address it is about.
    mac: bytes


@dataclass(frozen=True, slots=True)
class PlainFrame:
    """Any other frame."""

    #: Whose it is to receive.
    receiver: bytes
    #: Who sends it.
    sender: bytes
    #: The kind of its payload.
    ethertype: int
    #: All that follows the header.
    payload: bytes


Frame: TypeAlias = NumberedFrame | AnnounceFrame | ControlFrame | PlainFrame


@lru_cache(maxsize=256)
def mac_bytes(text: str) -> bytes:
    """Read an address written as 52:54:00:6f:55:cc; FrameError when it is not."""
    if not _MAC_PATTERN.fullmatch(text):
        raise FrameError(f"an address is written like 52:54:00:6f:55:cc, not {text[:40]!r}")
    return bytes.fromhex(text.replace(":", ""))


def mac_text(mac: bytes) -> str:
    """Write an address as 52:54:00:6f:55:cc."""
    return _checked_mac(mac).hex(":")


def is_group(mac: bytes) -> bool:
    """Say whether an address is that of many stations (IEEE 802 I/G bit)."""
    return bool(mac[0] & 1)


def build(frame: Frame) -> bytes:
    """Make the bytes of a frame, padded to FRAME_BYTES_MIN; FrameError when a field does not fit.

    `parse` of the result gives an equal frame (a plain one grows by its padding).
    """
    match frame:
        case NumberedFrame():
            packed = _build_numbered(frame)
        case AnnounceFrame():
            mac = _checked_mac(frame.mac)
            packed = _ANNOUNCE.pack(
                BROADCAST, mac, ETHERTYPE_ANNOUNCE, *_RARP_FIXED, mac, _NO_ADDRESS, mac, _NO_ADDRESS
            )
        case ControlFrame():
            mac = _checked_mac(frame.mac)
            packed = _CONTROL.pack(
                NEAREST_BRIDGE, mac, ETHERTYPE_CONTROL, _CONTROL_VERSION, frame.operation, mac
            )
        case PlainFrame():
            receiver, sender = _checked_mac(frame.receiver), _checked_mac(frame.sender)
            if not 0 <= frame.ethertype <= 0xFFFF:
                raise FrameError(f"an ethertype has 16 bits; {frame.ethertype} does not fit")
            packed = _HEADER.pack(receiver, sender, frame.ethertype) + frame.payload
            if len(packed) > FRAME_BYTES_MAX:
                raise FrameError(f"a frame has at most {FRAME_BYTES_MAX} bytes, not {len(packed)}")
    return packed.ljust(FRAME_BYTES_MIN, b"\0")


def parse(frame: bytes) -> Frame:
    """Read a frame; FrameError when it is too short, too long or malformed for its kind."""
    receiver, sender, ethertype = header(frame)
    if ethertype == ETHERTYPE_NUMBERED:
        _need(frame, _NUMBERED, "numbered")
        *_, sequence, flow, sent_ns = _NUMBERED.unpack_from(frame)
        return NumberedFrame(receiver, sender, sequence, flow, sent_ns)
    if ethertype == ETHERTYPE_ANNOUNCE:
        return _parse_announce(frame, sender)
    if ethertype == ETHERTYPE_CONTROL:
        return _parse_control(frame)
    return PlainFrame(receiver, sender, ethertype, bytes(frame[HEADER_BYTES:]))


def header(frame: bytes) -> tuple[bytes, bytes, int]:
    """Read receiver, sender and ethertype, which is all a switch looks at.

    FrameError when the frame is shorter than a header or longer than FRAME_BYTES_MAX.
    """
    if not HEADER_BYTES <= len(frame) <= FRAME_BYTES_MAX:
        raise FrameError(f"a frame has {HEADER_BYTES} to {FRAME_BYTES_MAX} bytes, not {len(frame)}")
    receiver, sender, ethertype = _HEADER.unpack_from(frame)
    return receiver, sender, ethertype


def _build_numbered(frame: NumberedFrame) -> bytes:
    for name, number, bits in (
        ("sequence", frame.sequence, 64),
        ("flow", frame.flow, 8),
        ("sent_ns", frame.sent_ns, 64),
    ):
        if not 0 <= number < 1 << bits:
            raise FrameError(f"{name} has {bits} bits without sign; {number} does not fit")
    return _NUMBERED.pack(
        _checked_mac(frame.receiver),
        _checked_mac(frame.sender),
        ETHERTYPE_NUMBERED,
        frame.sequence,
        frame.flow,
        frame.sent_ns,
    )


def _parse_announce(frame: bytes, sender: bytes) -> AnnounceFrame:
    _need(frame, _ANNOUNCE, "announce")
    _, _, _, *fixed, asker, _, subject, _ = _ANNOUNCE.unpack_from(frame)
    if tuple(fixed) != _RARP_FIXED or not asker == subject == sender:
        raise FrameError(
            "an announce frame is a RARP request reverse for its sender's own address; this one "
            f"from {mac_text(sender)} is not"
        )
    return AnnounceFrame(sender)


def _parse_control(frame: bytes) -> ControlFrame:
    _need(frame, _CONTROL, "control")
    *_, version, operation, mac = _CONTROL.unpack_from(frame)
    if version != _CONTROL_VERSION or not 1 <= operation <= len(ControlOperation):
        raise FrameError(
            f"a control frame has version {_CONTROL_VERSION} and operation 1 to "
            f"{len(ControlOperation)}, not version {version} and operation {operation}"
        )
    return ControlFrame(ControlOperation(operation), mac)


def _need(frame: bytes, layout: Struct, kind: str) -> None:
    if len(frame) < layout.size:
        raise FrameError(f"a {kind} frame has at least {layout.size} bytes, not {len(frame)}")


def _checked_mac(mac: bytes) -> bytes:
    if len(mac) != MAC_BYTES:
        raise FrameError(f"an address has {MAC_BYTES} bytes, not {len(mac)}")
    return mac
