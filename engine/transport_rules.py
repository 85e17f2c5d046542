"""Which capabilities go with which transport, and with each other.

What may live here: the refusals, asked before anything begins, at either side. The words are
QEMU's where it refuses the same.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.parameters import Capabilities, Capability
from engine.qmp import texts
from engine.qmp.errors import generic_error
from engine.uri import TcpUri, UnixUri, Uri


def check_transport(capabilities: Capabilities, uri: Uri, policies: Mapping[str, str]) -> None:
    """Raise GenericError when a migration through `uri` cannot be what the capabilities say.

    `policies` are those of the VM's profile.
    """
    if capabilities.on(Capability.MULTIFD) and not isinstance(uri, TcpUri | UnixUri):
        raise generic_error(texts.MULTIFD_NEEDS_SOCKETS)
    if capabilities.on(Capability.X_SHARE_MEMORY) and not isinstance(uri, UnixUri):
        raise generic_error(texts.SHARING_NEEDS_UNIX)
    # With one phase both sides may come to run, as in QEMU: on memory that each takes for its own.
    two_phase = policies["handover"] == "two-phase"
    if capabilities.on(Capability.X_SHARE_MEMORY) and not two_phase:
        raise generic_error(texts.SHARING_NEEDS_TWO_PHASES)
