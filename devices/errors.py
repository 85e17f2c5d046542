"""The one error that device options, device placement and the host inventory raise.

A management client sees these errors as QMP error objects, a user sees them on stderr. So an error
carries the QMP error class and the exact description, and nothing else decides what is shown.
Whoever raises one has changed nothing: a refused device leaves no trace.
"""

from __future__ import annotations

from typing import Literal

#: The QMP error classes a device command can answer with.
ErrorClass = Literal["GenericError", "DeviceNotFound", "DeviceNotActive"]


class DeviceError(Exception):
    """A device option, placement or host device was refused.

    `description` is the text a QMP client receives as `desc`. `hint`, where there is one, is the
    advice QEMU prints on stderr below the description and never sends over QMP.
    """

    def __init__(
        self,
        description: str,
        *,
        error_class: ErrorClass = "GenericError",
        hint: str | None = None,
    ) -> None:
        """Keep the parts; `str(error)` is the description alone."""
        super().__init__(description)
        #: QMP error class.
        self.error_class: ErrorClass = error_class
        #: QMP error description, exact.
        self.description = description
        #: Advice for stderr, or None.
        self.hint = hint
