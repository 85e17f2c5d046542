"""The streams this version writes are the committed ones, byte for byte, and it loads them.

`python -m tests.golden.vmstate.rewrite` writes the files anew; read the difference before you
commit it.
"""

from __future__ import annotations

import json

import msgpack
import pytest

from devices.vmstate import load, save
from tests.golden.vmstate.samples import (
    FOLDER,
    SAMPLES,
    golden_section,
    golden_text,
    negotiated_standby,
    reviewable,
)


def test_every_golden_file_has_its_sample() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(SAMPLES)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_current_code_writes_the_golden_bytes(name: str) -> None:
    assert golden_text(SAMPLES[name]) == (FOLDER / f"{name}.json").read_text()


@pytest.mark.parametrize("name", SAMPLES)
def test_the_reviewable_form_is_that_of_the_bytes(name: str) -> None:
    content = json.loads((FOLDER / f"{name}.json").read_text())
    assert content["section"] == reviewable(golden_section(name))


@pytest.mark.parametrize("name", SAMPLES)
def test_the_current_code_loads_the_golden_bytes(name: str) -> None:
    sample = SAMPLES[name]
    device = sample.fresh()
    load(sample.reader, device, golden_section(name))
    # Written by the description of its time, the loaded device gives the same bytes again.
    again = msgpack.packb(save(sample.description, device))
    assert msgpack.unpackb(again) == golden_section(name)


def test_the_stream_from_before_the_announcements_gives_the_same_guest() -> None:
    device = SAMPLES["virtio_net_before_announce"].fresh()
    load(
        SAMPLES["virtio_net_before_announce"].reader,
        device,
        golden_section("virtio_net_before_announce"),
    )
    source = negotiated_standby()
    assert device.guest_features == source.guest_features
    assert device.mac_table == source.mac_table
    assert device.queues == source.queues
    assert device.announce_rounds == 0
