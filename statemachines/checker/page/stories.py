"""What a page tells: a trace as the codes of its labels, and the property it is told for.

Rules kept here: a story holds no state. The page's stepper works every state out from the codes,
as anybody who clicks the same events would.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from statemachines.checker.explore import Explorer
from statemachines.checker.joint import Joint
from statemachines.checker.page.rules import guard_json
from statemachines.checker.plain import side_of
from statemachines.checker.trace import TraceStep, event_of, what_of
from statemachines.checker.verdict import Verdict
from statemachines.claims import At, Claim, Every, Kind, Neither, Property, ground_leaf
from statemachines.compile import Model
from statemachines.diagram.wording import condition
from statemachines.environment import Side
from statemachines.guards import All, Guard

Json = Any


@dataclass(frozen=True)
class Story:
    """One trace."""

    #: A few words: what a list of stories shows.
    title: str
    #: What to look for; for a property its sentence.
    sentence: str
    #: What came of it, such as "violated"; empty where there is nothing to judge.
    verdict: str
    #: Whether the verdict is as it should be.
    good: bool
    #: Label codes, in order.
    codes: tuple[int, ...]
    #: What the property says of a joint state; None where the story is told for none.
    claim: Json = None
    #: What is claimed of the joint states, as `Kind` has it; empty where nothing is.
    kind: str = ""
    #: Where the rule comes from.
    cite: str = ""
    #: Of each code where it was read; empty where it was read nowhere.
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Json]:
        """Return it as the page reads it."""
        return {
            "title": self.title,
            "sentence": self.sentence,
            "verdict": self.verdict,
            "good": self.good,
            "codes": self.codes,
            "claim": self.claim,
            "kind": self.kind,
            "cite": self.cite,
            "notes": self.notes,
        }


def story_of(model: Model, verdict: Verdict, steps: Iterable[TraceStep]) -> Story:
    """Return the story of a verdict and its trace."""
    codes = tuple(step.code for step in steps if step.label is not None)
    return story_of_property(model, verdict.property, verdict.holds, verdict.why, codes)


def story_of_property(
    model: Model, said: Property, holds: bool, why: str, codes: Sequence[int]
) -> Story:
    """Return the story of a property's verdict, its trace given as label codes."""
    return Story(
        title=said.name,
        sentence=said.sentence,
        verdict=_VERDICTS[said.kind, holds] + (f": {why}" if why else ""),
        good=holds,
        codes=tuple(codes),
        claim=claim_json(model, said.claim),
        kind=said.kind.value,
        cite=said.cite,
    )


def story_of_codes(explorer: Explorer, title: str, sentence: str, codes: Sequence[int]) -> Story:
    """Return a story that is told for no property, such as a journal that was replayed.

    :raise IndexError: if the system has no label of one of the codes.
    """
    for code in codes:
        explorer.label(code)
    return Story(title, sentence, "", True, tuple(codes))


def codes_of_events(
    explorer: Explorer, events: Iterable[Mapping[str, str | int | None]]
) -> tuple[int, ...]:
    """Return the label codes of replayable events, such as `as_events` returns.

    :raise LookupError: if one of them cannot happen where it stands; says which.
    """
    codes, _ = followed(explorer, events)
    return codes


def followed(
    explorer: Explorer, events: Iterable[Mapping[str, str | int | None]]
) -> tuple[tuple[int, ...], Joint]:
    """Return the label codes of replayable events, and the joint state that they lead to.

    :raise LookupError: if one of them cannot happen where it stands; says which.
    """
    key = explorer.visited.keys[:1]
    codes = []
    for number, event in enumerate(events, 1):
        for found in explorer.successors(explorer.unpack(key)):
            named = (_event_of(explorer, int(code)) for code in found.codes)
            at = next((place for place, other in enumerate(named) if other == event), None)
            if at is not None:
                codes.append(int(found.codes[at]))
                key = found.keys[at : at + 1]
                break
        else:
            raise LookupError(f"event {number} cannot happen: {dict(event)}")
    return tuple(codes), explorer.unpack(key)


def _event_of(explorer: Explorer, code: int) -> dict[str, str | int | None]:
    what = what_of(explorer, code)
    side = side_of(what)
    return {"side": side.value if side else None, **event_of(what)}


_VERDICTS = {
    (Kind.ALWAYS, False): "violated at the last step",
    (Kind.ALWAYS, True): "holds",
    (Kind.SOMETIMES, False): "never seen",
    (Kind.SOMETIMES, True): "seen at the last step",
    (Kind.RESOLVES, False): "violated from the last step on",
    (Kind.RESOLVES, True): "holds",
}


def claim_json(model: Model, claim: Claim) -> Json:
    """Return a claim as a tree whose leaves have a ground guard and words."""
    match claim:
        case At(side=side, guard=guard):
            parts = list(_leaves(model, side, claim, guard))
            return parts[0] if len(parts) == 1 else {"every": parts}
        case Neither(claim=inner):
            return {"neither": claim_json(model, inner)}
        case Every(claims=claims):
            return {"every": [claim_json(model, part) for part in claims]}


def _leaves(model: Model, side: Side, claim: At, guard: Guard) -> Iterable[Json]:
    parts = guard.guards if isinstance(guard, All) else (guard,)
    for part in parts:
        leaf = At(side, part, claim.each)
        yield {
            "side": side.value,
            "guard": guard_json(ground_leaf(model, leaf)),
            "words": condition(part),
        }
