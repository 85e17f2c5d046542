"""Options of QEMU that `replug vm` and `replug incoming` do not carry out.

What may live here: names, whether each takes an argument, and why a refused one is refused. Rules:

- ignored is what cannot change anything here: there is no CPU, no disk, no display and no BIOS;
- refused is what would change the VM, or how the process is to behave, in a way replug does not;
- the names are those of QEMU 7.2's `-help`, and of later and earlier versions where people still
  write them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_WITH_ARGUMENT = """
    accel acpitable action add-fd append audio audiodev bios blockdev boot cdrom chroot compat cpu d
    D debugcon dfilter display drive dtb dump-vmstate echr fda fdb fsdev fw_cfg g gdb hda hdb hdc
    hdd icount initrd iscsi k kernel L mem-path monitor msg mtdblock numa object option-rom
    overcommit parallel pflash pidfile plugin prom-env qtest-log rotate rtc run-with runas sandbox
    sd seed semihosting-config serial shim smbios smp soundhw spice tb-size tpmdev trace usbdevice
    vga virtfs vnc watchdog watchdog-action xen-domid
"""

_ALONE = """
    alt-grab async-teardown audio-help ctrl-grab enable-fips enable-kvm enable-sync-profile
    full-screen jitdump no-acpi no-fd-bootchk no-hpet no-quit no-reboot no-shutdown
    no-user-config nographic one-insn-per-tb only-migratable perfmap portrait s semihosting
    singlestep snapshot usb win2k-hack xen-attach xen-domid-restrict
"""

#: Ignored together with the argument that follows.
IGNORED_WITH_ARGUMENT = frozenset(_WITH_ARGUMENT.split())
#: Ignored; no argument follows.
IGNORED_ALONE = frozenset(_ALONE.split())


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an option of QEMU's is an error here."""

    #: Whether an argument follows it.
    takes_argument: bool
    #: What is the matter and what to do instead.
    reason: str
    #: The one argument that is harmless, and ignored; None if there is no such.
    harmless: str | None = None


_NETWORK = Refusal(True, "is not offered here: write -netdev and -device", harmless="none")

#: Refused, each with its reason.
REFUSED: Mapping[str, Refusal] = MappingProxyType(
    {
        "daemonize": Refusal(
            False,
            "replug stays in the foreground: let the shell or a service manager put it in the "
            "background",
        ),
        "qtest": Refusal(True, "there is no qtest server: the guest's behaviour is set by -guest"),
        "readconfig": Refusal(True, "is not offered here: write its options on the command line"),
        "set": Refusal(True, "is not offered here: write the value into the option it changes"),
        "loadvm": Refusal(True, "there are no snapshots: a saved VM comes in by -incoming"),
        "preconfig": Refusal(False, "is not offered here: configure the VM on the command line"),
        "nic": _NETWORK,
        "net": _NETWORK,
    }
)
