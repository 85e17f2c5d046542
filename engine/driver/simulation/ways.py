"""The ways that RAM can go: over which link, through how many channels, compressed, or handed over.

What may live here: naming all combinations that can be asked for. Which of them a VM refuses is
for the production code to say; `allowed` is what it is expected to say.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

#: What a link may be.
TRANSPORTS = ("tcp", "unix")
#: The most channels beside the main one that a plan has.
CHANNELS_MAX = 4
COMPRESSIONS = ("none", "zstd")


@dataclass(frozen=True)
class Way:
    """One combination."""

    #: What the link is.
    transport: str
    #: How many channels there are beside the main one; 0: multifd is off.
    channels: int
    #: Parameter multifd-compression.
    compression: str
    #: Capability x-adaptive.
    adaptive: bool
    #: Capability x-share-memory.
    shared: bool

    @property
    def allowed(self) -> bool:
        """Whether a VM can migrate so: memory is handed over whole, and by a unix socket alone."""
        return not self.shared or (self.transport == "unix" and not self.channels)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The capabilities that it takes."""
        named = (
            ("multifd", self.channels),
            ("x-adaptive", self.adaptive),
            ("x-share-memory", self.shared),
        )
        return tuple(name for name, is_on in named if is_on)

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that it takes."""
        counted = {"multifd-channels": self.channels} if self.channels else {}
        return {**counted, "multifd-compression": self.compression}

    def __str__(self) -> str:
        """Name it in words."""
        words = [self.transport]
        words += [f"{self.channels} channel{'s' if self.channels > 1 else ''}"] * bool(
            self.channels
        )
        words += [self.compression] * (self.compression != "none")
        words += ["adaptive"] * self.adaptive + ["shared"] * self.shared
        return ", ".join(words)


#: All RAM through the one link that there is, as it stands.
PLAIN = Way("tcp", 0, "none", adaptive=False, shared=False)


def every_way() -> Iterator[Way]:
    """Return all combinations, those that are refused too."""
    counts, either = range(CHANNELS_MAX + 1), (False, True)
    for each in product(TRANSPORTS, counts, COMPRESSIONS, either, either):
        yield Way(*each)


def way_of(transport: str, capabilities: Collection[str], parameters: Mapping[str, Any]) -> Way:
    """Return the way of a VM that is set up so."""
    return Way(
        transport,
        # QEMU's default, and so ours, is 2.
        parameters.get("multifd-channels", 2) if "multifd" in capabilities else 0,
        parameters.get("multifd-compression", "none"),
        "x-adaptive" in capabilities,
        "x-share-memory" in capabilities,
    )
