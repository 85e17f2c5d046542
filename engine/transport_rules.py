"""Which capabilities go with which transport, and with each other.

What may live here: the refusals, asked before anything begins, at either side. The words are
QEMU's where it refuses the same.
"""

from __future__ import annotations

from engine.parameters import Capabilities, Capability
from engine.qmp import texts
from engine.qmp.errors import generic_error
from engine.uri import TcpUri, UnixUri, Uri


def check_transport(capabilities: Capabilities, uri: Uri) -> None:
    """Raise GenericError when a migration through `uri` cannot be what the capabilities say."""
    if capabilities.on(Capability.MULTIFD) and not isinstance(uri, TcpUri | UnixUri):
        raise generic_error(texts.MULTIFD_NEEDS_SOCKETS)
    if capabilities.on(Capability.X_SHARE_MEMORY) and not isinstance(uri, UnixUri):
        raise generic_error(texts.SHARING_NEEDS_UNIX)
