"""Public docstrings are there and say the shapes of arrays, the units of quantities and the errors raised."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

import pytest
from docstring_rules import House, undocumented, unstated_errors, unstated_shapes, unstated_units

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("planners", "trainers", "dataset_conversion", "evaluation")
# Draws the synthetic kit; it is used by its commands, not called.
DRAWING = "femur_nnunet.phantom"


@pytest.fixture(scope="module")
def house() -> House:
    modules = {}
    for folder in ("femur_nnunet", *ROOMS):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts if folder == "femur_nnunet" else ("femur_nnunet", *parts))
            modules[name.removesuffix(".__init__")] = ast.parse(path.read_text(encoding="utf-8"))
    return House(modules)


def house_of(**sources: str) -> House:
    return House({name: ast.parse(dedent(source)) for name, source in sources.items()})


def test_everything_public_has_a_docstring(house):
    assert [f"{module} {name}" for module, tree in house.modules.items() for name in undocumented(tree)] == []


def test_a_class_method_or_property_without_a_docstring_is_found():
    tree = ast.parse(dedent('''
        """A module."""
        def told():
            """Said."""
            def inner(): ...
        def _private(): ...
        class _Private:
            def method(self): ...
        class Bare:
            def _private(self): ...
            def __len__(self): ...
            @property
            def size(self): ...
        '''))
    assert undocumented(tree) == ["Bare", "Bare.size"]
    assert undocumented(ast.parse("VALUE = 1")) == [""]


def test_the_shape_of_every_public_array_is_stated(house):
    """Said in the entry of the parameter or attribute, in the text above the sections, by a name that ends in ``_zyx``,
    by the docstring of its type's alias or by a reference to a function that says it. What comes back may also be like
    what went in. The synthetic kit's drawing is left out: nobody calls it but the kit.
    """
    assert [f"{module} {name}" for module in house.modules if not f"{module}.".startswith(f"{DRAWING}.")
            for name in unstated_shapes(house, module)] == []


@pytest.mark.parametrize(("docstring", "stated"), [
    ("Return the sum.", False),
    ("Return the sum (Bland and Altman, 1986) of a mask in good shape, times (a + b).", False),
    ("Return the sum of a mask (z, y, x).", True),
    ("Return the sum of points (n, 3).", True),
    ("Return the sum of values of shape (border voxels,).", True),
    ("Return the sum, of the same shape.", True),
    ("Return the sum of the masks that :func:`told` takes.", True),
    ("Return the sum of the masks that :func:`untold` takes.", False),
])
def test_an_array_without_a_shape_is_found(docstring, stated):
    code = house_of(room=f'''
        def asked(mask: NDArray[np.bool_], count: int) -> float:
            """{docstring}"""
        def told(mask):
            """Take a mask of shape (z, y, x)."""
        def untold(mask):
            """Take a mask."""
        ''')
    assert unstated_shapes(code, "room") == ([] if stated else ["asked: mask"])


def test_each_parameter_with_an_entry_states_its_own_shape():
    code = house_of(room='''
        def add(first: torch.Tensor, second: torch.Tensor | None) -> torch.Tensor:
            """Add.

            Parameters
            ----------
            first : Tensor
                Shape (n, d).
            second : Tensor
                To be added.
            """
        ''')
    assert unstated_shapes(code, "room") == ["add: second"]


def test_attributes_returned_arrays_and_constructors_state_their_shapes():
    code = house_of(room='''
        class Scan:
            """A scan."""
            values: np.ndarray
            _own: np.ndarray
            def __init__(self, mask: np.ndarray) -> None: ...
            @property
            def mean(self) -> np.ndarray:
                """The mean."""
            def state(self) -> dict[str, np.ndarray]:
                """All of it."""
        class Told:
            """A scan of shape (z, y, x)."""
            values: np.ndarray
            def __init__(self, mask: np.ndarray) -> None: ...
        ''')
    assert unstated_shapes(code, "room") == ["Scan: values", "Scan.__init__: mask", "Scan.mean: return"]


def test_an_alias_stands_for_an_array_and_may_state_its_shape():
    aliases = '''
        Plain = NDArray[np.float64]
        Points = NDArray[np.float64]
        """Positions, shape (n, 3)."""
        '''
    code = house_of(aliases=aliases, room='''
        from aliases import Plain, Points
        def length(plain: Plain, points: Points, case_zyx: Plain) -> float:
            """Return a length."""
        ''')
    assert unstated_shapes(code, "room") == ["length: plain"]


def test_every_public_quantity_has_a_unit(house):
    assert [f"{module} {name}" for module, tree in house.modules.items() for name in unstated_units(tree)] == []


def test_a_quantity_without_a_unit_is_found():
    tree = ast.parse(dedent('''
        class Head:
            """A head.

            Attributes
            ----------
            radius, depth : float
                Of its sphere.
            length : float
                In mm.
            """
            radius: float
            depth: int
            length: float
            radius_mm: float
            def volume(self) -> float:
                """Return its volume."""
            def area(self) -> float:
                """Return its area in mm2."""
        def grow(slice_spacing: float | None, angle: float) -> str:
            """Grow by an angle."""
        '''))
    assert unstated_units(tree) == ["Head: radius", "Head.volume: volume", "grow: slice_spacing", "grow: angle"]


def test_every_error_that_a_public_function_raises_itself_is_under_raises(house):
    """Our own errors and ValueError, of a class in the class's docstring; a command's ``main`` tells the user."""
    assert [f"{module} {name}" for module in house.modules for name in unstated_errors(house, module)] == []


def test_an_error_that_is_not_under_raises_is_found():
    code = house_of(errors="class ScanError(FemurError): ...", room='''
        def read(path):
            """Read.

            Raises
            ------
            FemurError
                It is damaged.
            """
            try:
                if path:
                    raise ValueError("a line cut short")
            except ValueError:
                raise FemurError("damaged") from None
            if not path:
                raise errors.ScanError("empty")
            raise _no_head(path)
        def _no_head(path) -> UsageError: ...
        def main():
            """Run."""
            raise FemurError("no scan")
        def outer():
            """Return a function."""
            def inner():
                raise FemurError("later")
            return inner
        class Spec:
            """A spec."""
            def __post_init__(self):
                raise ValueError("no spec")
        class UsageError(FemurError):
            """Wrong usage."""
        ''')
    assert unstated_errors(code, "room") == ["read: ScanError", "read: UsageError", "Spec.__post_init__: ValueError"]
