"""Migrating RAM, beside QEMU: time, downtime, bytes, memory and CPU, in one run.

`python -m benchmarks.ram` starts real processes of both, over QMP, with the same RAM contents and
sizes on this machine, in turn. `contents.py` makes what RAM holds, `firmware.py` QEMU's guest;
`vms.py` and `guests.py` start the pairs, `migration.py` runs and times one, `campaign.py` all;
`rows.py` says what is aimed at, and `scale.py` fits a line to cost against dirty memory.
"""
