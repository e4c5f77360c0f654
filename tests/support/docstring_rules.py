"""What a public docstring has to say of arrays, quantities and errors, read from the source without importing it."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise

Function = ast.FunctionDef | ast.AsyncFunctionDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Where a statement may stand in; expressions hold none.
_BLOCKS = (ast.stmt, ast.excepthandler, ast.match_case)

ARRAY_TYPES = frozenset({"NDArray", "ndarray", "Tensor"})
# A callable is no array, and the state of a network has as many shapes as entries.
SHAPELESS_CONTAINERS = frozenset({"Callable", "Mapping", "dict", "type"})
FLOAT_TYPES = frozenset({"float", "floating", "float32", "float64", "FloatArray"})
QUANTITIES = frozenset({"length", "thickness", "radius", "radii", "distance", "spacing", "volume", "density", "angle",
                        "width", "height", "depth", "time", "diameter", "area", "margin", "tolerance"})
DESCRIBED_BY_THEIR_CLASS = ("__init__", "__post_init__", "__call__", "forward")
_AXIS = r"(?:[a-z]|\d|\.\.\.|count|classes|slices?|rows?|columns?|features|width|new|old|vertices|participants)"
STATES_SHAPE = re.compile(
    rf"\bshapes? (?:``|\(|of the )|\({_AXIS}(?:, {_AXIS})+\)|\({_AXIS},\)"  # shape (samples,), (z, y, x), (n,)
    r"|\b(?:same|equal|that|its|their|any) shape\b|\bone value (?:a|an|for each|for every|of each) "
    r"|\b(?:scalars?|broadcasts?|one-dimensional|unit vectors?|rotation matrix)\b", re.IGNORECASE)
STATES_UNIT = re.compile(
    r"\b(?:mm[23]?|cm[23]?|ml|mg|HU|millimetres?|centimetres?|millilitres?|degrees?|radians?|seconds?|minutes?|hours?"
    r"|MiB|voxels?|pixels?|fraction|part|share|ratio|probability|standardised|the unit of|(?:'s|own) unit)\b|%",
    re.IGNORECASE)
_NAMED_AXES = re.compile(r"_(?:zyx|kji)$")
_REFERENCE = re.compile(r":(?:func|meth|class):`[~.]?(?:\w+\.)*(\w+)`")


@dataclass(frozen=True)
class Docstring:
    """A numpydoc docstring: what stands before the first section, and the entries of each section by name."""

    prose: str
    sections: Mapping[str, Mapping[str, str]]

    @classmethod
    def parsed(cls, text: str) -> Docstring:
        """Read a docstring as ``ast.get_docstring`` gives it."""
        parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", text, flags=re.MULTILINE)
        return cls(parts[0], {title: _entries(body) for title, body in zip(parts[1::2], parts[2::2], strict=True)})

    def entry(self, name: str) -> str | None:
        """Return what is said under a parameter's or attribute's name, None where it has no entry."""
        return next((entries[name] for entries in self.sections.values() if name in entries), None)

    def said_of(self, name: str) -> str:
        """Return its entry, without one the prose."""
        entry = self.entry(name)
        return self.prose if entry is None else entry


def _entries(body: str) -> dict[str, str]:
    found: dict[str, str] = {}
    names: list[str] = []
    for line in body.splitlines():
        if line and not line[0].isspace():
            names = [name.strip(" *") for name in line.split(" : ")[0].split(",")]
        for name in names:
            found[name] = found.get(name, "") + line + "\n"
    return found


@dataclass(frozen=True)
class Definition:
    """A public class, function or method: its dotted name, its source, and the class that a method is of."""

    name: str
    node: ast.ClassDef | Function
    owner: ast.ClassDef | None = None

    @cached_property
    def docstring(self) -> Docstring:
        """Its own docstring; of what is called through its class, both."""
        texts = [ast.get_docstring(self.node) or ""]
        if self.owner is not None and self.node.name in DESCRIBED_BY_THEIR_CLASS:
            texts.append(ast.get_docstring(self.owner) or "")
        own, *of_class = map(Docstring.parsed, texts)
        return Docstring("\n".join((own.prose, *(other.prose for other in of_class))),
                         dict(chain.from_iterable(part.sections.items() for part in (*of_class, own))))

    @property
    def typed_names(self) -> list[tuple[str, ast.expr]]:
        """Its parameters or attributes with their annotations; what it returns stands under the name ``return``."""
        if isinstance(self.node, ast.ClassDef):
            return [(item.target.id, item.annotation) for item in self.node.body if isinstance(item, ast.AnnAssign)
                    and isinstance(item.target, ast.Name) and not item.target.id.startswith("_")]
        arguments = self.node.args
        named = [(argument.arg, argument.annotation)
                 for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return [(name, note) for name, note in (*named, ("return", self.node.returns)) if note is not None]


def public_definitions(tree: ast.Module) -> Iterator[Definition]:
    """Yield what has no leading underscore, and special methods that are called through the class."""
    return _definitions(tree.body, "", None)


def _definitions(body: list[ast.stmt], prefix: str, owner: ast.ClassDef | None) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, (ast.ClassDef, Function)) and (
                not node.name.startswith("_") or node.name in DESCRIBED_BY_THEIR_CLASS):
            yield Definition(prefix + node.name, node, owner)
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node.body, f"{prefix}{node.name}.", node)


class House:
    """What the docstrings of one module may rely on from the others.

    Parameters
    ----------
    modules : mapping
        The source of each module by its dotted name.

    Attributes
    ----------
    shapes_stated : frozenset of str
        Functions and classes whose docstrings state a shape; a reference to one of them states it too.
    """

    def __init__(self, modules: Mapping[str, ast.Module]) -> None:
        self.modules = modules
        self.shapes_stated = frozenset(
            each.node.name for tree in modules.values() for each in public_definitions(tree)
            if _says(STATES_SHAPE, ast.get_docstring(each.node) or ""))
        self._bases = {node.name: [_last_name(base) for base in node.bases]
                       for tree in modules.values() for node in tree.body if isinstance(node, ast.ClassDef)}
        self._arrays: dict[str, set[str]] = {}

    def array_names(self, module: str) -> set[str]:
        """Return the names that stand for arrays in a module, less the aliases whose own docstring states a shape."""
        if module not in self._arrays:
            self._arrays[module] = self._array_names(self.modules[module])
        return self._arrays[module]

    def _array_names(self, tree: ast.Module) -> set[str]:
        found = set(ARRAY_TYPES)
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module in self.modules:
                found |= self.array_names(node.module) & {alias.name for alias in node.names}
        for node, following in pairwise([*tree.body, ast.Pass()]):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _names(node.value) & found:
                said = following.value if isinstance(following, ast.Expr) else None
                if not (isinstance(said, ast.Constant) and _says(STATES_SHAPE, str(said.value))):
                    found.add(node.targets[0].id)
        return found

    def is_error(self, name: str) -> bool:
        """Whether a class is one of our errors or a ValueError."""
        return name in ("FemurError", "ValueError") or any(map(self.is_error, self._bases.get(name, ())))


def undocumented(tree: ast.Module) -> list[str]:
    """Return what is public and has no docstring, the module as an empty name."""
    nodes = [("", tree), *((each.name, each.node) for each in public_definitions(tree)
                           if not each.node.name.startswith("__"))]
    return [name for name, node in nodes if not ast.get_docstring(node)]


def unstated_shapes(house: House, module: str) -> list[str]:
    """Return the arrays among parameters, attributes and returned values whose shape or axes are stated nowhere."""
    arrays = house.array_names(module)
    return [f"{each.name}: {name}" for each in public_definitions(house.modules[module])
            for name, annotation in each.typed_names
            if _names(annotation) & arrays and not _NAMED_AXES.search(name)
            and not _states_shape(each.docstring, name, house.shapes_stated)]


def _states_shape(docstring: Docstring, name: str, stated_elsewhere: Collection[str]) -> bool:
    texts = [docstring.prose, docstring.entry(name) or ""]
    if name == "return":  # What comes back is like what went in, unless it is said.
        texts += chain.from_iterable(entries.values() for entries in docstring.sections.values())
    return any(_says(STATES_SHAPE, text) or set(_REFERENCE.findall(text)) & set(stated_elsewhere) for text in texts)


def unstated_units(tree: ast.Module) -> list[str]:
    """Return the physical quantities without a unit; a name that ends in one does not end in the quantity."""
    found = []
    for each in public_definitions(tree):
        for name, annotation in each.typed_names:
            quantity = each.node.name if name == "return" else name
            if (quantity.split("_")[-1] in QUANTITIES and _names(annotation) & FLOAT_TYPES
                    and not _says(STATES_UNIT, each.docstring.said_of(name))):
                found.append(f"{each.name}: {quantity}")
    return found


def unstated_errors(house: House, module: str) -> list[str]:
    """Return the errors that a public function itself raises and its Raises section does not name."""
    tree = house.modules[module]
    makers = {node.name: _last_name(node.returns) for node in tree.body if isinstance(node, Function) and node.returns}
    found = []
    for each in public_definitions(tree):
        if isinstance(each.node, ast.ClassDef) or each.name == "main":
            continue
        raised = {makers.get(name, name) for name in _raised_by(each.node)}
        named = each.docstring.sections.get("Raises", {})
        found += [f"{each.name}: {name}" for name in sorted(raised) if house.is_error(name) and name not in named]
    return found


def _raised_by(node: ast.AST) -> Iterator[str]:
    """Yield the names of what is raised and leaves the function: not what it raises for its own ``except``."""
    if isinstance(node, ast.Raise) and node.exc is not None:
        yield _last_name(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)
    for name, value in ast.iter_fields(node):
        inner = [child for child in (value if isinstance(value, list) else []) if isinstance(child, _BLOCKS)
                 and not isinstance(child, (*_FUNCTIONS, ast.ClassDef))]
        caught = _caught_by(node) if isinstance(node, ast.Try) and name == "body" else set()
        yield from (error for error in chain.from_iterable(map(_raised_by, inner)) if error not in caught)


def _caught_by(node: ast.Try) -> set[str]:
    return {_last_name(kind) for handler in node.handlers if handler.type is not None
            for kind in (handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type])}


def _says(pattern: re.Pattern[str], text: str) -> bool:
    return pattern.search(" ".join(text.split())) is not None


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _names(annotation: ast.expr) -> set[str]:
    """Return the names in an annotation, without what stands in a container of no one shape."""
    if isinstance(annotation, ast.Subscript) and _last_name(annotation.value) in SHAPELESS_CONTAINERS:
        return set()
    own = {_last_name(annotation)}
    return own.union(*map(_names, (child for child in ast.iter_child_nodes(annotation) if isinstance(child, ast.expr))))
