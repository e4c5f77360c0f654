"""Errors that a user can act on: what was found, what was expected, what to do."""

from __future__ import annotations


class FemurError(Exception):
    """A failure that is told to the user in one line, without a traceback.

    Parameters
    ----------
    found : str
        What was found.
    expected : str
        What was expected instead.
    action : str
        What the user should do next, as an imperative sentence.
    subject : str, optional
        What the error is about: a manifest row, a case id, a file.
    """

    exit_code = 1

    def __init__(self, found: str, *, expected: str, action: str, subject: str = "") -> None:
        self.found = found
        self.expected = expected
        self.action = action
        self.subject = subject
        super().__init__(str(self))

    def __str__(self) -> str:
        prefix = f"{self.subject}: " if self.subject else ""
        return f"{prefix}found {self.found}; expected {self.expected}; {self.action.rstrip('.')}."

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword-only arguments do not survive pickling out of a worker process.
        return _rebuild, (type(self), self.found, self.expected, self.action, self.subject)


class UsageError(FemurError):
    """The command was called with wrong or contradicting arguments, or on the wrong folder."""

    exit_code = 2


class TargetBusyError(FemurError):
    """Another run holds the target folder."""

    exit_code = 3


class MachineError(FemurError):
    """The machine failed (a full disk, too little memory, a killed process), of which the input is not to be judged."""


def _rebuild(cls: type[FemurError], found: str, expected: str, action: str, subject: str) -> FemurError:
    return cls(found, expected=expected, action=action, subject=subject)
