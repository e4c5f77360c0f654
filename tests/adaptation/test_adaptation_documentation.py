from __future__ import annotations

import re
from pathlib import Path

from femur_nnunet.plan_settings import FemurPlanSettings
from femur_nnunet.trainers import __all__ as trainer_names

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "adaptation.md").read_text(encoding="utf-8")


def test_every_test_that_the_table_of_defects_names_exists():
    table = PAGE[PAGE.index("## Defects"):PAGE.index("## Where the settings live")]
    functions = {}
    current = None
    for file, function in re.findall(r"`(?:(test_\w+\.py): )?(test_\w+)`", table):
        current = file or current
        functions.setdefault(current, []).append(function)
    assert sum(map(len, functions.values())) >= 12
    for file, names in functions.items():
        (path,) = TESTS.rglob(file)
        source = path.read_text(encoding="utf-8")
        for name in names:
            assert f"def {name}(" in source, f"{file}: {name}"


def test_every_block_and_every_adapting_trainer_is_named():
    for block in FemurPlanSettings().to_dict():
        assert block == "schema" or f"`{block}`" in PAGE, block
    for name in trainer_names:
        assert not name.startswith("TransUNet") or f"`{name}`" in PAGE, name
