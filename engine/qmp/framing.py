"""From bytes to JSON objects, one at a time, whatever the pieces they came in.

QMP input is a stream of JSON objects. Clients usually send one per line, but objects may also
follow each other directly or span several lines. Rules:

- a message is framed by scanning for brackets outside strings, and only a whole message is
  decoded; its length and nesting are bounded during the scan, before anything is decoded;
- what is wrong comes out as a `QmpError` in the place of the object; `feed` never raises;
- an unbalanced, overlong or too deep message, or a byte that no JSON has outside a string, drops
  everything up to the next newline. 0xFF, which no UTF-8 text contains, ends a line too: clients
  of QEMU use it to get back in step;
- a message whose brackets match is over at its last bracket even if what is inside is not JSON;
- the result depends on the bytes alone, never on how they were cut.

QEMU's wording is used where its parser has the same complaint. Its single-quoted strings, an
extension of JSON, are not accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeAlias

from engine.qmp import texts
from engine.qmp.decoding import decode
from engine.qmp.errors import QmpError, generic_error

#: A message of more bytes than this is refused (QEMU allows 64 MiB of tokens).
MESSAGE_BYTES_MAX = 1 << 20

#: More open brackets than this are refused (QEMU allows 1024).
NESTING_MAX = 64

#: What `feed` hands out: an object, or why there is none.
Item: TypeAlias = dict[str, Any] | QmpError

_CLOSES = {ord("{"): ord("}"), ord("["): ord("]")}
_BLANK = re.compile(rb"[ \t\r\n]*")
_LINE_END = re.compile(rb"[\n\xff]")
#: What matters between two strings: brackets, quotes and what cannot stand there at all.
_STRUCTURE = re.compile(rb"[{}\[\]\"'\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xff]")
#: What matters inside a string: its end, an escape, and what must have been escaped.
_IN_STRING = re.compile(rb"[\"\\\x00-\x1f\xff]")
#: What ends a number or a keyword that stands alone.
_SCALAR_END = re.compile(rb"[ \t\r\n{}\[\]\":,'\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xff]")


class JsonStream:
    """The incremental reader of one client's input.

    Holds at most one unfinished message; each byte is scanned once, however it arrives.
    """

    def __init__(
        self, message_bytes_max: int = MESSAGE_BYTES_MAX, nesting_max: int = NESTING_MAX
    ) -> None:
        self._message_bytes_max = message_bytes_max
        self._nesting_max = nesting_max
        #: The unfinished message; what came before it is gone.
        self._buffer = bytearray()
        #: How much of the buffer has been scanned.
        self._scanned = 0
        #: The brackets that are open, as the bytes that will close them.
        self._open: list[int] = []
        #: How to go on at `_scanned`.
        self._step: Callable[[int], Item | bool] = self._between

    def feed(self, data: bytes) -> list[Item]:
        """Take the next bytes; return what they complete, in order.

        Each item is the dictionary of one JSON object, or a GenericError in its place.
        """
        if self._step == self._between and not self._buffer and self._is_one_line(data):
            try:
                return [decode(data)]
            except QmpError:
                pass  # told below, with where it went wrong
        self._buffer += data
        items: list[Item] = []
        while True:
            outcome = self._step(min(len(self._buffer), self._message_bytes_max))
            if isinstance(outcome, (dict, QmpError)):
                items.append(outcome)
            elif outcome is False:
                return items

    def _is_one_line(self, data: bytes) -> bool:
        """Say whether these bytes, where no message has begun, can only be one object, or wrong."""
        return (
            data.startswith(b"{")
            and data.find(b"\n") == len(data) - 1 <= self._message_bytes_max
            and data.isascii()
            and data.count(b"{") + data.count(b"[") <= self._nesting_max
        )

    # Each step scans from `_scanned` up to `end` and answers with an item, True (another step is
    # to follow) or False (more bytes are needed).

    def _between(self, end: int) -> Item | bool:
        """No message has begun."""
        blank = _BLANK.match(self._buffer)
        self._drop(blank.end() if blank else 0)
        if not self._buffer:
            return False
        first = self._buffer[0]
        if first == ord('"'):
            self._scanned, self._step = 1, self._string
        elif first in _CLOSES:
            self._step = self._structure
        elif _SCALAR_END.match(self._buffer):
            return self._give_up(1, _complaint(first))
        else:
            self._step = self._scalar
        return True

    def _structure(self, end: int) -> Item | bool:
        """Inside brackets, outside strings."""
        found = _STRUCTURE.search(self._buffer, self._scanned, end)
        if found is None:
            return self._need_more(end)
        byte = found.group()[0]
        self._scanned = found.end()
        if byte == ord('"'):
            self._step = self._string
        elif byte in _CLOSES:
            self._open.append(_CLOSES[byte])
            if len(self._open) > self._nesting_max:
                return self._give_up(self._scanned, texts.NESTING_TOO_DEEP)
        elif self._open[-1] != byte:
            return self._give_up(self._scanned, _complaint(byte))
        else:
            self._open.pop()
            if not self._open:
                return self._finish(self._scanned)
        return True

    def _string(self, end: int) -> Item | bool:
        """Inside a string, after its opening quote."""
        found = _IN_STRING.search(self._buffer, self._scanned, end)
        if found is None:
            return self._need_more(end)
        byte = found.group()[0]
        if byte == ord("\\"):
            if found.end() == end:
                self._scanned = found.start()
                return self._need_more(end, keep=found.start())
            # Whatever is escaped is not the end of the string; decoding judges the escape. A raw
            # control character after the backslash is left for the next step to complain about.
            escaped = self._buffer[found.end()]
            self._scanned = found.end() + (escaped >= 0x20 and escaped != 0xFF)
        elif byte == ord('"'):
            self._scanned = found.end()
            if not self._open:
                return self._finish(self._scanned)
            self._step = self._structure
        else:
            return self._give_up(found.end(), texts.json_stray(f'"{_shown(byte)}'))
        return True

    def _scalar(self, end: int) -> Item | bool:
        """Inside a number or keyword that stands alone; it never makes an object."""
        found = _SCALAR_END.search(self._buffer, self._scanned, end)
        if found is None:
            return self._need_more(end)
        try:
            return decode(bytes(self._buffer[: found.start()]))
        except QmpError as error:
            # One complaint for a line of prose, not one for each of its words.
            return self._give_up(found.start(), error.description)

    def _skipping(self, end: int) -> Item | bool:
        """After an error, up to the end of the line."""
        found = _LINE_END.search(self._buffer)
        if found is None:
            self._drop(len(self._buffer))
            return False
        self._drop(found.end())
        self._step = self._between
        return True

    def _need_more(self, end: int, keep: int | None = None) -> Item | bool:
        self._scanned = end if keep is None else keep
        if end == self._message_bytes_max:
            return self._give_up(end, texts.MESSAGE_TOO_LONG)
        return False

    def _finish(self, end: int) -> Item:
        message = bytes(self._buffer[:end])
        self._drop(end)
        self._step = self._between
        try:
            return decode(message)
        except QmpError as error:
            return error

    def _give_up(self, end: int, description: str) -> QmpError:
        """Drop the message up to `end` and skip to the end of the line it stopped in."""
        # A line end among the offending bytes is itself the place to go on from.
        self._drop(end - 1 if self._buffer[end - 1] in b"\n\xff" else end)
        self._step = self._skipping
        return generic_error(description)

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._scanned = 0
        self._open.clear()


def _shown(byte: int) -> str:
    return chr(byte) if byte < 0x80 else "\ufffd"


def _complaint(byte: int) -> str:
    if byte in b"{}[]:,":
        return texts.JSON_EXPECTING_VALUE
    return texts.json_stray(_shown(byte))
