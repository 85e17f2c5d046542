"""What is wrong with an option line, said the way QEMU says it.

What may live here: the one error of the command line, and how a complaint gets the option, as it
was written, before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from devices.errors import DeviceError
from engine.profile import ProfileError
from engine.uri import UriError

_SHOWN_CHARACTERS_MAX = 1000


class CommandLineError(Exception):
    """An option line that cannot be used; nothing has been started.

    `str(error)` is one line fit for stderr, which begins with the option; `hint` is the advice
    that goes below it, or None.
    """

    def __init__(self, text: str, hint: str | None = None) -> None:
        super().__init__(text)
        #: Advice for stderr, or None.
        self.hint = hint


def shown(text: str) -> str:
    """Return the text as an error shows it: bounded, and printable whatever was given."""
    cut = f"{text[:_SHOWN_CHARACTERS_MAX]}…" if len(text) > _SHOWN_CHARACTERS_MAX else text
    return cut.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def naming(option: str) -> Iterator[None]:
    """Turn what is wrong with an option into a CommandLineError that begins with it."""
    try:
        yield
    except DeviceError as error:
        raise CommandLineError(f"{option}: {shown(error.description)}", error.hint) from error
    except (UriError, ProfileError) as error:
        raise CommandLineError(f"{option}: {shown(str(error))}") from error
