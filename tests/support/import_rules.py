"""What may import what: held by test_house_rules.py, shown by docs/architecture.md and its figure."""

from __future__ import annotations

from dataclasses import dataclass

_NETWORKS = ("torch", "torchvision", "nnunetv2")


@dataclass(frozen=True)
class RoomRule:
    """A room of the house.

    Attributes
    ----------
    folder : str
        Its folder below the project's root.
    package : str
        The name that it is installed under.
    may_import : tuple of str
        Packages of other rooms that it may import.
    never : tuple of str
        Libraries that it may not import.
    """

    folder: str
    package: str
    may_import: tuple[str, ...]
    never: tuple[str, ...] = ()


_SHARED = ("femur_nnunet",)
_EVERY = ("femur_nnunet", "femur_nnunet.dataset_conversion", "femur_nnunet.planners", "femur_nnunet.trainers",
          "femur_nnunet.evaluation")
ROOM_RULES = (
    RoomRule("femur_nnunet", "femur_nnunet", ()),
    RoomRule("dataset_conversion", "femur_nnunet.dataset_conversion", _SHARED, _NETWORKS),
    RoomRule("planners", "femur_nnunet.planners", _SHARED),
    RoomRule("trainers", "femur_nnunet.trainers", _SHARED),
    RoomRule("evaluation", "femur_nnunet.evaluation", _SHARED, _NETWORKS),
    RoomRule("femur_nnunet/drivers", "femur_nnunet.drivers", _EVERY),
    RoomRule("femur_nnunet/nnunet_plugin", "femur_nnunet.nnunet_plugin", ("femur_nnunet.trainers",)),
)


def room_of_folder(path: str) -> RoomRule:
    """Return the room that a file lies in, by its path below the root; of rooms within each other the inner one."""
    return max((rule for rule in ROOM_RULES if path.startswith(rule.folder + "/")), key=lambda rule: len(rule.folder))


def room_of_module(module: str) -> RoomRule | None:
    """Return the room that a module belongs to, None for a library."""
    inside = [rule for rule in ROOM_RULES if f"{module}.".startswith(f"{rule.package}.")]
    return max(inside, key=lambda rule: len(rule.package), default=None)
