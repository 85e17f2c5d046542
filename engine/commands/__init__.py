"""What each QMP command does to a VM: its handler on the core.

What may live here: one class of handlers per topic, what they report, and the dispatcher that
finds a command's handler. Arguments have been validated by the session; texts are QEMU's
(`engine.qmp.texts`, the tables, `devices.texts`) or ours (`engine.commands.texts`). No I/O: what
a command needs of the process it asks of a `Host`.
"""
