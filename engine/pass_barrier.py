"""Passes over several channels, kept apart: who is ahead waits for the others.

What may live here: who has come to the end of which pass. Rules: participant 0 is the main channel,
with its PassEnd; the others say ChannelSync. All say the same passes, in ascending order. Nobody
goes on before all have said the same, so that no page is written by an older pass after a newer
one, and device state comes after all RAM.
"""

from __future__ import annotations

from engine.errors import UnexpectedMessage


class PassBarrier:
    """How far each channel of one migration has come."""

    def __init__(self, channels: int) -> None:
        """Wait for the main channel and so many others."""
        self._participants = 1 + channels
        self._ended = 0
        self._ending = 0
        self._held: set[int] = set()
        self._gone: set[int] = set()

    def reached(self, participant: int, pass_number: int) -> bool:
        """Take note that a channel has come to the end of a pass; True when all have.

        UnexpectedMessage when it is not the pass the others are in, or when it should have waited.
        """
        is_right = pass_number == self._ending if self._held else pass_number > self._ended
        if not is_right or participant in self._held:
            awaited = f"{self._ending}" if self._held else f"{self._ended + 1} or later"
            raise UnexpectedMessage(
                expected=f"the end of pass {awaited}, from each channel once",
                came=f"that of pass {pass_number}",
                remedy="the source is of another version, or the stream is damaged",
            )
        self._ending = pass_number
        self._held.add(participant)
        if len(self._held) < self._participants:
            return False
        self._ended = pass_number
        self._held.clear()
        return True

    def left(self, participant: int) -> None:
        """Take note that a channel has ended between two passes."""
        self._gone.add(participant)

    @property
    def waits_for_ever(self) -> bool:
        """Whether a pass has yet to end on a channel that is no more."""
        return bool(self._held) and not self._gone <= self._held

    def holds(self, participant: int) -> bool:
        """Say whether a channel has to wait for others."""
        return participant in self._held
