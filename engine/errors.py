"""The errors the engine raises, one class per thing that can be wrong.

What may live here: exception types and the way their text is put together. Rules:

- every text says what was expected, what came, and what to do about it;
- the three parts are attributes too, so that a report or a test never parses the text;
- an error is raised before anything has changed: an encoder has not used up its sequence
  number, a decoder has not handed out half a message.

A `StreamError` ends its stream: nothing that follows can be trusted, the decoder repeats the
same error for ever, and the side that met it fails the migration and keeps what it had.
"""

from __future__ import annotations


class EngineError(Exception):
    """Anything the engine refuses; the base of all its errors."""

    #: How the text begins; a class with a well-known text of its own replaces it.
    opening: str = ""

    def __init__(self, *, expected: str, came: str, remedy: str) -> None:
        #: What would have been right.
        self.expected = expected
        #: What was there instead.
        self.came = came
        #: What the reader of the message can do.
        self.remedy = remedy
        super().__init__(f"{self.opening}expected {expected}, got {came}; {remedy}")


class StreamError(EngineError):
    """The bytes of a migration stream are not what they should be; the stream is over."""


class NotAStream(StreamError):
    """The first bytes are not the magic of a replug stream."""

    # The words QEMU prints for the same mistake (migration/savevm.c qemu_loadvm_state).
    opening = "Not a migration stream: "


class UnsupportedVersion(StreamError):
    """The stream, or one message in it, has a version this end does not read."""

    opening = "Unsupported migration stream version: "


class ChecksumMismatch(StreamError):
    """A header or a frame was changed on its way."""

    opening = "Corrupted migration stream: "


class FrameTooLarge(StreamError):
    """A frame announces, or a message would need, more bytes than its type may have."""

    opening = "Frame too large: "


class Truncated(StreamError):
    """The stream ended before its header or in the middle of a frame."""

    opening = "Migration stream ended early: "


class MalformedMessage(StreamError):
    """A frame or its body breaks the format, or a field is out of its bounds."""

    opening = "Malformed message: "


class UnexpectedMessage(StreamError):
    """A whole message that has no place here: unknown, from the wrong side, or out of sequence."""

    opening = "Unexpected message: "
