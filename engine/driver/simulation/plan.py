"""What happens to a simulated migration, all of it decided beforehand by one seed.

What may live here: the plan as data, its making, its JSON. Rules:

1. A plan is plain values: it can be written down, thinned out and run again.
2. An action happens some time after a moment: the start, or the first time that a VM reaches a
   state. A moment that never comes takes its actions along.
3. Nothing is looked up in the order of a set or of a hash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from random import Random
from typing import Any

from engine.driver.simulation.link import LinkConditions
from engine.driver.simulation.ways import (
    CHANNELS_MAX,
    COMPRESSIONS,
    PLAIN,
    TRANSPORTS,
    Way,
    way_of,
)
from statemachines.system import VM_MACHINES

#: When an action is counted from: the start of the simulation.
START = ""
#: Moments at which what goes wrong is worst, as VM, lifecycle and state.
MOMENTS = (
    *(f"source migration {s}" for s in ("setup", "wait-unplug", "active", "pre-switchover")),
    "source migration device",
    "source migration cancelling",
    "source handover delivered",
    "source handover committed",
    "source run_state finish-migrate",
    "target incoming active",
    "target takeover greeted",
    "target takeover receiving",
    "target takeover state-loaded",
    "target takeover loaded",
    "target incoming completed",
)
#: Those of them in which the VM changes hands.
HAND_OVER = (
    "source handover delivered",
    "source handover committed",
    "target takeover loaded",
)
#: Everything that a plan may hold, by who does it.
OPERATOR = (
    "cancel", "continue", "stop", "cont", "reset", "device_del", "device_add", "capabilities",
    "query", "announce", "set_link", "resolve", "quit-in-doubt",
)  # fmt: skip
GUEST = ("eject-now", "driver-reset", "reboot", "options")
ACCIDENTS = (
    "cut", "cut-channel", "stall", "damage", "refuse", "kill-target", "kill-source", "target-gone",
)  # fmt: skip


class PlanError(ValueError):
    """A file that is no plan."""


@dataclass(frozen=True)
class Action:
    """One thing that somebody does, or that happens to the network or a process."""

    #: What, see OPERATOR, GUEST, ACCIDENTS and "migrate".
    kind: str
    #: After which moment; START for the beginning.
    moment: str
    #: How long after.
    after_ms: float
    #: Which VM.
    vm: str = "source"
    #: What else there is to say.
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """One simulation."""

    #: Where its chances come from.
    seed: int
    #: The profile of both VMs.
    profile: str
    #: Failover pairs of each VM.
    pairs: int = 1
    #: Whether slots are hotplugged by themselves, not by ACPI.
    native_hotplug: bool = False
    #: Whether the source is started with -S, and the target.
    held: tuple[bool, bool] = (False, False)
    #: The text of the source's -guest.
    guest: str = "fill=64K,working-set=64K"
    #: The text of the target's.
    target_guest: str = ""
    #: Capabilities that are on at first.
    capabilities: tuple[str, ...] = ("events",)
    #: Migration parameters.
    parameters: Mapping[str, Any] = field(default_factory=dict)
    #: The network.
    link: LinkConditions = field(default_factory=LinkConditions)
    #: What its links are: "tcp", or "unix" between VMs of one host.
    transport: str = "tcp"
    #: Whether a VM that is at the source in the end is migrated once more, undisturbed.
    once_more: bool = True
    #: What happens.
    actions: tuple[Action, ...] = ()

    @property
    def way(self) -> Way:
        """Which way RAM goes."""
        return way_of(self.transport, self.capabilities, self.parameters)

    def to_json(self) -> str:
        """Write it as text."""
        return json.dumps(asdict(self), indent=1) + "\n"


def plan_from_json(text: str) -> Plan:
    """Read a plan.

    :raise PlanError: if the text is none.
    """
    try:
        given = json.loads(text)
        given["link"] = LinkConditions(**given["link"])
        given["actions"] = tuple(Action(**action) for action in given["actions"])
        given["held"] = (bool(given["held"][0]), bool(given["held"][1]))
        given["capabilities"] = tuple(given["capabilities"])
        plan = Plan(**given)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise PlanError(f"this is no plan: {error}; expected what --journal-dir writes") from error
    if plan.transport not in TRANSPORTS:
        raise PlanError(f"{plan.transport!r} is no transport; there are {', '.join(TRANSPORTS)}")
    known = (*OPERATOR, *GUEST, *ACCIDENTS, "migrate")
    for action in plan.actions:
        if action.kind not in known:
            raise PlanError(f"no action is called {action.kind!r}; there are {', '.join(known)}")
        if action.moment != START and not _is_moment(action.moment):
            raise PlanError(
                f"{action.moment!r} is no moment; one is written like {MOMENTS[0]!r}, or is empty"
            )
    return plan


def _is_moment(text: str) -> bool:
    vm, _, rest = text.partition(" ")
    machine, _, value = rest.partition(" ")
    states = {spec.name: spec.states for spec in VM_MACHINES}.get(machine, ())
    return vm in ("source", "target") and value in [state.value for state in states]


def plan_of(seed: int, profile: str) -> Plan:
    """Return what a seed decides; the same for every profile, but that only native shares RAM."""
    return _Planner(seed).plan(profile)


def _compressing(plan: Plan, compression: str) -> Plan:
    return replace(plan, parameters={**plan.parameters, "multifd-compression": compression})


class _Planner:
    """The choices of one seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)
        #: How much is meddled and how much goes wrong.
        self._temper = self._choose(("calm", 3), ("meddled", 4), ("faulty", 4), ("wild", 2))

    def _choose(self, *weighted: tuple[Any, int]) -> Any:
        values = [value for value, _ in weighted]
        return self._random.choices(values, [weight for _, weight in weighted])[0]

    def _often(self, probability: float) -> bool:
        return self._random.random() < probability

    def _between(self, low: float, high: float) -> float:
        """Return a number in between, small ones as often as large ones."""
        return float(f"{low * (high / low) ** self._random.random():.3g}")

    def plan(self, profile: str) -> Plan:
        """Make all choices, in a fixed order."""
        plan = Plan(
            seed=self._random.randrange(1 << 32),
            profile=profile,
            pairs=self._choose((1, 5), (2, 1)),
            native_hotplug=self._often(0.15),
            held=(self._often(0.05), self._often(0.1)),
            guest=self._guest(),
            target_guest=self._choose(("", 9), ("eject=prompt", 1), ("dirty=0", 1)),
            capabilities=self._capabilities(),
            parameters=self._parameters(),
            link=self._link(),
            once_more=self._often(0.3),
        )
        plan = replace(plan, actions=tuple(self._actions()))
        # Ways for RAM are chosen last, and each after the others, so that all else stays.
        if self._often(0.4):
            plan = self._channelled(plan)
        if self._often(0.3):
            plan = self._on_one_host(plan)
        if plan.way.channels and self._temper in ("faulty", "wild") and self._often(0.6):
            plan = replace(plan, actions=(*plan.actions, self._channel_cut()))
        if plan.way == PLAIN and self._often(0.05):
            # It says nothing without channels, and is no reason to refuse anything.
            plan = _compressing(plan, "zstd")
        return plan

    def _channelled(self, plan: Plan) -> Plan:
        """Let RAM go some other way than plainly."""
        parameters = {
            **plan.parameters,
            "multifd-channels": self._random.randint(1, CHANNELS_MAX),
            "multifd-compression": self._choose(("none", 1), ("zstd", 1)),
        }
        ways = self._choose((("multifd",), 6), (("x-adaptive",), 2), (("multifd", "x-adaptive"), 1))
        return replace(plan, capabilities=(*plan.capabilities, *ways), parameters=parameters)

    def _on_one_host(self, plan: Plan) -> Plan:
        """Let the link be a unix socket, through which RAM can be handed over instead of sent."""
        plan = replace(plan, transport="unix")
        if not plan.way.channels:
            plan = _compressing(plan, self._random.choice(COMPRESSIONS))
            if self._often(0.7) and plan.profile == "native":
                plan = replace(plan, capabilities=(*plan.capabilities, "x-share-memory"))
        return plan

    def _channel_cut(self) -> Action:
        """Cut one channel, mid-pass as a rule, while the others live."""
        moment = self._choose(
            ("source migration active", 4),
            ("target takeover receiving", 2),
            ("source migration setup", 1),
        )
        after_ms = 0.0 if self._often(0.2) else self._between(0.01, 60)
        values = {
            "number": self._random.randrange(CHANNELS_MAX),
            "keeps_to_source": self._often(0.5),
            "keeps_to_target": self._often(0.5),
            "with_error": self._often(0.5),
        }
        return Action("cut-channel", moment, after_ms, values=values)

    # -- what things are like

    def _guest(self) -> str:
        late = f"{self._between(1, 500):g}ms"
        given = {
            "eject": self._choose(("prompt", 11), (late, 6), ("never", 2), ("resumed", 1)),
            "standby": self._choose(("on", 14), ("off", 1)),
            "dirty": self._choose(("0", 8), ("256K", 3), ("1M", 1), ("4M", 1)),
            "fill": self._choose(("16K", 1), ("64K", 4), ("128K", 1)),
            "working-set": self._choose(("16K", 1), ("64K", 4), ("128K", 1)),
            "link-delay": f"{self._between(0.1, 30):g}ms",
            "probe-delay": f"{self._between(0.1, 20):g}ms",
            "negotiate": self._choose(("0ms", 3), (f"{self._between(1, 200):g}ms", 1)),
            "blink": "30ms",
            "power-off": "10ms",
            "seed": str(self._random.randrange(1 << 32)),
        }
        if self._often(0.05):
            given["reboot-after"] = f"{self._between(20, 400):g}ms"
        if self._often(0.05):
            given["reset-after"] = f"{self._between(20, 400):g}ms"
        return ",".join(f"{key}={value}" for key, value in given.items())

    def _capabilities(self) -> tuple[str, ...]:
        given = ["events"] if self._often(0.9) else []
        for name, probability in (
            ("return-path", 0.4),
            ("pause-before-switchover", 0.2),
            ("x-verify-ram", 0.15),
        ):
            if self._often(probability):
                given.append(name)
        return tuple(given)

    def _parameters(self) -> dict[str, Any]:
        return {
            "downtime-limit": self._choose((300, 3), (20, 1), (2, 1)),
            "max-bandwidth": self._choose((134217728, 3), (16777216, 2), (4194304, 1), (0, 1)),
            "x-unplug-timeout-ms": int(self._between(50, 800)),
            "x-heartbeat-ms": int(self._between(400, 1500)),
        }

    def _link(self) -> LinkConditions:
        return LinkConditions(
            latency_ms=self._between(0.02, 10),
            bytes_per_ms=self._between(2e4, 2e6),
            short_reads=self._choose((0.0, 3), (0.3, 1), (0.8, 1)),
            buffer_bytes=int(self._between(4096, 1 << 20)),
        )

    # -- what happens

    def _actions(self) -> list[Action]:
        begins_ms = self._between(2, 150)
        actions = [Action("migrate", START, begins_ms)]
        if self._often(0.2):
            actions.append(Action("migrate", START, begins_ms + self._between(20, 500)))
        meddling = {"calm": 0, "meddled": 3, "faulty": 1, "wild": 8}[self._temper]
        accidents = {"calm": 0, "meddled": 0, "faulty": 2, "wild": 3}[self._temper]
        for _ in range(self._random.randint(min(meddling, 1), meddling)):
            actions.append(self._meddle(begins_ms))
        for _ in range(self._random.randint(min(accidents, 1), accidents)):
            actions.append(self._accident(begins_ms))
        return actions

    def _when(self, begins_ms: float) -> tuple[str, float]:
        if self._often(0.2):
            return START, begins_ms + self._between(0.1, 400)
        after_ms = 0.0 if self._often(0.3) else self._between(0.01, 100)
        return self._random.choice(HAND_OVER if self._often(0.4) else MOMENTS), after_ms

    def _meddle(self, begins_ms: float) -> Action:
        kind = self._choose(
            ("cancel", 9), ("continue", 1), ("stop", 2), ("cont", 2), ("reset", 2),
            ("device_del", 3), ("device_add", 2), ("capabilities", 1), ("query", 1),
            ("announce", 1), ("set_link", 1), ("resolve", 1), ("quit-in-doubt", 1),
            ("eject-now", 2), ("driver-reset", 2), ("reboot", 1), ("options", 3),
        )  # fmt: skip
        vm = self._choose(("source", 3), ("target", 1))
        return Action(kind, *self._when(begins_ms), vm, self._values(kind))

    def _values(self, kind: str) -> dict[str, Any]:
        pair = self._random.randint(1, 2)
        match kind:
            case "device_del" | "eject-now" | "set_link":
                return {"pair": pair, "up": self._often(0.5)}
            case "device_add":
                return {"pair": pair, "again": self._often(0.3), "misplaced": self._often(0.2)}
            case "driver-reset":
                return {"pair": pair}
            case "capabilities":
                name = self._choose(("return-path", 1), ("pause-before-switchover", 1))
                return {"name": name, "on": self._often(0.5)}
            case "options":
                name, value = self._choose(
                    (("eject", "prompt"), 2),
                    (("eject", "never"), 2),
                    (("eject", "resumed"), 1),
                    (("dirty", "4M"), 1),
                    (("standby", "off"), 1),
                )
                return {name: value}
            case _:
                return {}

    def _accident(self, begins_ms: float) -> Action:
        kind = self._choose(
            ("cut", 6), ("stall", 4), ("damage", 2), ("refuse", 1), ("kill-target", 4),
            ("kill-source", 1), ("target-gone", 1),
        )  # fmt: skip
        values: dict[str, Any] = {}
        match kind:
            case "cut":
                values = {
                    "keeps_to_source": self._often(0.4),
                    "keeps_to_target": self._often(0.5),
                    "with_error": self._often(0.5),
                }
            case "stall" | "refuse":
                values = {"for_ms": self._between(1, 3000)}
            case "damage":
                values = {"at": self._choose(("target", 3), ("source", 1))}
        if kind in ("refuse", "target-gone"):
            return Action(kind, START, begins_ms - self._between(0.1, begins_ms), values=values)
        return Action(kind, *self._when(begins_ms), values=values)
