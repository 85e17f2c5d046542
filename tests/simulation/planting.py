"""Defects planted into the profile `native`, to see whether they are found.

What may live here: one wrong choice put in the place of the right one, for the length of a test.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from engine import profile
from engine.driver.simulation import make_up


def plant(patched: pytest.MonkeyPatch, **policies: str) -> None:
    """Let VMs of the profile `native` have these policies; they begin with the next one built."""
    native = profile._PROFILES["native"]
    changed = MappingProxyType({**native.policies, **policies})
    patched.setitem(profile._PROFILES, "native", replace(native, policies=changed))
    make_up.template.cache_clear()


def uproot() -> None:
    """Build VMs anew once the policies are right again."""
    make_up.template.cache_clear()
