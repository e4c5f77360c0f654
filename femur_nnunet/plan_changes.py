"""Changes of single settings of a plan, as ``block.key=value``: one experiment differs from another by these."""

from __future__ import annotations

import json
from collections.abc import Iterable

from femur_nnunet.errors import UsageError
from femur_nnunet.plan_settings import PLAN_BLOCK_KEY, FemurPlanSettings, settings_from_configuration


def with_changes(settings: FemurPlanSettings, changes: Iterable[str]) -> FemurPlanSettings:
    """Return the settings with single values changed.

    Parameters
    ----------
    settings : FemurPlanSettings
        Settings to start from.
    changes : iterable of str
        ``block.key=value``, such as ``adaptation.mmd_weight=0.3``. The value is JSON; what is no JSON is
        taken as a string.

    Raises
    ------
    UsageError
        A change of another form, of an unknown block or key, or to a value that the plan refuses.
    """
    content = settings.to_dict()
    for change in changes:
        name, equals, text = change.partition("=")
        block, dot, key = name.strip().partition(".")
        if not (equals and dot and key):
            raise UsageError(f"the change {change!r}", expected="block.key=value, as in adaptation.mmd_weight=0.3",
                             action="write it so")
        if not isinstance(content.get(block), dict) or key not in content[block]:
            known = ", ".join(f"{known_block}.{known_key}" for known_block, keys in content.items()
                              if isinstance(keys, dict) for known_key in keys)
            raise UsageError(f"the setting {name.strip()!r}", expected=f"one of {known}", action="correct it")
        content[block][key] = _value(text.strip())
    return settings_from_configuration({PLAN_BLOCK_KEY: content})


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
