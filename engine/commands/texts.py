"""Sentences that only commands need: QEMU's where it has one, else ours, which say what to do.

Constants and templates for `%`; the comment above each says with what it is filled.
"""

from __future__ import annotations

# -- QEMU's

#: Net client (net/net.c qmp_query_rx_filter).
NOT_A_NIC = "net client(%s) isn't a NIC"
#: Net client (net/net.c qmp_query_rx_filter).
NO_RX_FILTER = "net client(%s) doesn't support rx-filter querying"
#: Property, device id, type (hw/core/qdev-properties.c qdev_prop_set_after_realize).
SET_AFTER_REALIZE = "Attempt to set property '%s' on device '%s' (type '%s') after it was realized"

#: Type, property (qom/object.c object_property_get).
NOT_READABLE = "Property '%s.%s' is not readable"

# -- ours

QUIT_IN_DOUBT = (
    "The VM may live on this side or the other: say who keeps it with x-replug-resolve before "
    "this process may end"
)
#: Option of the guest's.
FIXED_AT_BOOT = "Guest option '%s' is fixed when the guest boots: give it with -guest"
GUEST_IS_STOPPED = "The guest is stopped and does nothing: let it run with cont first"
#: What is asked of the guest.
NOT_NOW = "The guest cannot do this now: %s; /machine/replug 'state' shows how things stand"
#: Property, what it takes.
TAKES = "Property '%s' takes %s"
