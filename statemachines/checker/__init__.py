"""The checker: explores every reachable joint state of two VMs, their channel and environment.

What may live here: whatever reads ground rules (`statemachines.compile`) and explores, judges or
exports them. It is the only part of `statemachines` that uses numpy; nothing that runs imports it.
"""
