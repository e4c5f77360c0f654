from __future__ import annotations

from types import SimpleNamespace

import pytest

from femur_nnunet.errors import UsageError
from femur_nnunet.trainers import FemurTrainer


def test_a_plan_that_names_a_foreign_callable_is_refused_before_anything_is_imported():
    configuration = {"architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {"nonlin": "os.system", "nonlin_kwargs": {"command": "true"}},
        "_kw_requires_import": ["nonlin"]}}
    with pytest.raises(UsageError, match=r"os\.system"):
        FemurTrainer.build_network_architecture(None, SimpleNamespace(configuration=configuration), 1, 2)
