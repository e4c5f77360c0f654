"""A plan's network without its weights: shapes to compare a file with, before anything is allocated."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from femur_nnunet.errors import FemurError
from femur_nnunet.model_bundle.bundle_error import BundleError

if TYPE_CHECKING:
    from torch import nn


def empty_network(family: str, configuration: Mapping[str, Any], n_classes: int, subject: str) -> nn.Module:
    """Return the network of a checked plan on torch's device ``meta``, in evaluation mode.

    A plan may ask for more than a machine holds; on ``meta`` its weights have shapes and no memory. They get some when
    those of a file take their place.

    Raises
    ------
    BundleError
        The plan makes no network.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    from femur_nnunet.networks.from_plan import build_of_family

    class WithoutRandomStart(TorchFunctionMode):
        """Leave random weights out: on ``meta`` they would be nothing, and cost two seconds of imports (sympy)."""

        def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in (torch.Tensor.normal_, torch.Tensor.uniform_):
                return args[0]
            return func(*args, **(kwargs or {}))

    try:
        with torch.device("meta"), WithoutRandomStart():
            return build_of_family(family, configuration, 1, n_classes, deep_supervision=False).eval()
    except FemurError:
        raise
    except Exception as error:
        # Sizes that are allowed one by one need not make a network.
        raise BundleError(f"a plan that makes no network ({type(error).__name__}: {ascii(str(error))[1:120]})",
                          expected="the plan of a trained network", subject=subject) from None
