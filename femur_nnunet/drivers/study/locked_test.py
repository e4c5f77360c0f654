"""The record of uses of the locked test set: a second choice is refused unless it is asked for, and then told."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from femur_nnunet.errors import UsageError
from femur_nnunet.files import canonical_json, read_json, sha256_of_text, write_json

TEST_USE_NAME = "femur_study_test_set.json"
_SCHEMA = 1


@dataclass(frozen=True)
class Choice:
    """What is about to see the test set.

    Attributes
    ----------
    trainer, plans, settings : str
        The arm.
    plan_sha256, splits_sha256 : str
        Hash of the plan, and of folds and test list together.
    """

    trainer: str
    plans: str
    settings: str
    plan_sha256: str
    splits_sha256: str

    @property
    def sha256(self) -> str:
        """Identity of the choice."""
        return sha256_of_text(canonical_json([self.trainer, self.plans, self.plan_sha256, self.splits_sha256]))


def claim_test_set(path: Path, choice: Choice, *, again: bool) -> int:
    """Record, before the test set is read, that a choice sees it; the same choice may come back.

    Parameters
    ----------
    path : Path
        The record, beside the trained folders so that another ``--out`` finds it.
    choice : Choice
        A trainer's chosen arm.
    again : bool
        Allow a choice other than the recorded one.

    Returns
    -------
    int
        Different choices of this trainer that have seen the test set, this one included.

    Raises
    ------
    UsageError
        Another choice of the trainer has seen the test set, and ``again`` is false.
    """
    uses = read_uses(path)
    own = [use for use in uses if use["trainer"] == choice.trainer]
    if any(use["choice_sha256"] == choice.sha256 for use in own):
        return len(own)
    if own and not again:
        raise UsageError(
            f"a test set that {choice.trainer} has seen with {own[-1]['plans']} ({own[-1]['settings']}, "
            f"{own[-1]['when']}), and now {choice.plans} ({choice.settings}) on "
            f"{'the same' if own[-1]['splits_sha256'] == choice.splits_sha256 else 'other'} folds",
            expected="one choice, made on cross-validation alone, that sees the test set once",
            action="keep to the first choice, or give --again: the table then says so", subject=str(path))
    uses.append({"trainer": choice.trainer, "plans": choice.plans, "settings": choice.settings,
                 "plan_sha256": choice.plan_sha256, "splits_sha256": choice.splits_sha256,
                 "choice_sha256": choice.sha256, "when": datetime.now(tz=timezone.utc).isoformat(timespec="seconds")})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"schema": _SCHEMA, "uses": uses})
    return len(own) + 1


def read_uses(path: Path) -> list[dict[str, Any]]:
    """Return the recorded uses, oldest first."""
    if not path.exists():
        return []
    content = read_json(path, what="the record of uses of the test set", action="restore it; do not delete it to get "
                        "a second look at the test set")
    return list(content["uses"])
