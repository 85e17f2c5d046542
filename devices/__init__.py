"""What a guest can see: option strings, device models, PCI placement, RAM, virtio, the guest.

Everything in this package is pure: no input or output, no clock, no randomness, no asyncio. What an
object here holds is what a guest or a management client could read from a device; nothing here
decides a lifecycle. Whether a primary is hidden, pending or plugged is a question for the state
machines, and the engine puts their answers together with the devices.

Import the module that holds what you need; this file re-exports nothing.
"""
