"""What the runtime gives to the world, raises and sends, in which order and on whose behalf."""

from __future__ import annotations

import pytest

from statemachines.effects import Command, Do, Message, Raise, Send
from statemachines.events import E
from statemachines.guards import VM_SCOPE, Per, Scope
from statemachines.policies import QEMU_7_2
from statemachines.states import (
    Feature,
    Link,
    Lower,
    Migration,
    NetFailover,
    Primary,
    Resume,
    ReturnPath,
    Standby,
    State,
    Takeover,
)
from tests.unit.statemachines.small_vm import attached, fire, negotiate, vm


def test_effects_come_in_the_order_of_the_row() -> None:
    runtime, _, _ = attached()
    fire(runtime, E.MIGRATE)
    steps = fire(runtime, E.CONNECT_FAILED)
    assert [step.event for step in steps] == [
        E.CONNECT_FAILED,
        E.ABANDON,
        E.RESUME_SOURCE,
        E.ROLLBACK,
    ]
    assert [str(h.effect) for h in steps[0].effects] == [
        "do emit MIGRATION",
        "raise ABANDON",
        "raise RESUME_SOURCE",
        "raise ROLLBACK",
    ]


def test_a_last_word_is_said_before_the_channel_is_closed() -> None:
    runtime, _, _ = attached()
    fire(runtime, E.MIGRATE)
    fire(runtime, E.CONNECTED)
    effects = [h.effect for step in fire(runtime, E.CANCEL) for h in step.effects]
    said = effects.index(Send(Message.ABORT))
    closed = next(
        i
        for i, effect in enumerate(effects)
        if isinstance(effect, Do) and effect.command is Command.CLOSE_CHANNEL
    )
    assert said < closed


def test_what_a_step_raises_waits_until_its_effects_are_read() -> None:
    runtime, _, _ = attached()
    fire(runtime, E.MIGRATE)
    steps = runtime.fire(E.CONNECT_FAILED)
    assert next(steps).event is E.CONNECT_FAILED
    assert runtime.state(Migration) is Migration.FAILED
    assert next(steps).event is E.ABANDON
    assert [step.event for step in steps] == [E.RESUME_SOURCE, E.ROLLBACK]


def test_an_effect_belongs_to_the_instance_whose_row_has_it() -> None:
    """Also where the event is about somebody narrower."""
    runtime, standby, primary = attached({"greeting": "none"})
    fire(runtime, E.MIGRATE)
    steps = fire(runtime, E.CONNECTED)
    asked = [
        (h.scope, h.effect.command)
        for step in steps
        for h in step.effects
        if isinstance(h.effect, Do)
    ]
    assert asked == [
        (Scope(Per.PRIMARY, primary), Command.EMIT_UNPLUG_PRIMARY),
        (VM_SCOPE, Command.SAVE_SETUP),
    ]
    fire(runtime, E.SETUP_DONE)
    fire(runtime, E.GUEST_RELEASES, primary)
    ejected = fire(runtime, E.GUEST_EJECTS, primary)
    assert ejected[1].event is E.PRIMARY_UNPLUGGED
    assert ejected[1].scope == Scope(Per.PRIMARY, primary)
    assert {h.scope for h in ejected[1].effects} == {VM_SCOPE}
    fire(runtime, E.DRIVER_RESET, standby)
    raised = negotiate(runtime, standby)
    assert raised[0].effects[-1].effect == Raise(E.NEGOTIATED)
    assert raised[0].effects[-1].scope == raised[1].scope == Scope(Per.STANDBY, standby)


# -- what messages carry


def test_a_message_carries_the_states_of_before_its_step() -> None:
    runtime, standby, primary = attached(dict(QEMU_7_2))
    fire(runtime, E.RETURN_PATH_ON)
    fire(runtime, E.MIGRATE)
    hello = next(
        h for step in fire(runtime, E.CONNECTED) for h in step.effects if isinstance(h.effect, Send)
    )
    assert hello.latched == {ReturnPath: {0: ReturnPath.ON}}
    for event in (E.SETUP_DONE, E.GUEST_EJECTS, E.POLL, E.CONVERGED, E.GUEST_STOPPED):
        fire(runtime, event, primary if event is E.GUEST_EJECTS else None)
    (step,) = fire(runtime, E.FINAL_SENT)
    state = next(h for h in step.effects if h.effect == Send(Message.STATE, h.effect.latch))  # type: ignore[union-attr]
    assert state.latched == {
        Standby: {standby: Standby.DRIVER_OK},
        Feature: {standby: Feature.ACKED},
        NetFailover: {standby: NetFailover.STANDBY},
        Lower: {primary: Lower.OUT},
        Resume: {0: Resume.RUN},
    }
    fire(runtime, E.SYSTEM_RESET)
    assert state.latched[Feature] == {standby: Feature.ACKED}


def test_a_message_is_read_by_the_same_instances() -> None:
    runtime, standby, (primary,) = vm(booted=False)
    fire(runtime, E.BOOT_INCOMING)
    for event in (E.INCOMING, E.PEER_CONNECTED, E.RECV_HELLO, E.HELLO_GOOD):
        fire(runtime, event)
    latched: dict[type[State], dict[int, State]] = {
        Standby: {standby: Standby.DRIVER_OK},
        Feature: {standby: Feature.ACKED},
        Resume: {0: Resume.HOLD},
    }
    steps = list(runtime.fire(E.RECV_STATE, None, latched))
    assert [step.event for step in steps] == [E.RECV_STATE, E.NEGOTIATED]
    assert runtime.state(Takeover) is Takeover.STATE_LOADED
    assert runtime.state(Standby, standby) is Standby.DRIVER_OK
    assert runtime.state(Resume) is Resume.HOLD
    assert runtime.state(Primary, primary) is Primary.PLUGGED
    assert runtime.state(NetFailover, standby) is NetFailover.ABSENT
    assert runtime.state(Link) is Link.OPEN


def test_what_was_received_is_gone_after_the_step() -> None:
    """The raised step reads no message, and neither does the next event."""
    runtime, standby, _ = vm(booted=False)
    fire(runtime, E.BOOT_INCOMING)
    for event in (E.INCOMING, E.PEER_CONNECTED, E.RECV_HELLO, E.HELLO_GOOD):
        fire(runtime, event)
    list(runtime.fire(E.RECV_STATE, None, {Standby: {standby: Standby.DRIVER}}))
    assert runtime.latched_of(Standby, Scope(Per.STANDBY, standby)) is Standby.DRIVER
    fire(runtime, E.RECV_END)
    assert runtime.latched_of(Standby, Scope(Per.STANDBY, standby)) is None


def test_a_vm_is_built_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """`transitions` warns of every method it does not add; there are hundreds of them."""
    attached()
    assert caplog.records == []
