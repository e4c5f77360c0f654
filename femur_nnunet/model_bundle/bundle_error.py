"""The error of a file that is no model bundle, or one that cannot be trusted."""

from __future__ import annotations

from femur_nnunet.errors import UsageError

_ACTION = "get the bundle again from where it was published, or pack it anew with femur_model pack"


class BundleError(UsageError):
    """A model bundle was refused: nothing of it is used."""

    def __init__(self, found: str, *, expected: str, action: str = _ACTION, subject: str = "") -> None:
        super().__init__(found, expected=expected, action=action, subject=subject)
