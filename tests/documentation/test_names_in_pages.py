"""Files, modules, settings and links that a page names are there."""

from __future__ import annotations

import ast
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest
from markdown_pages import ROOT, CodeBlock, Page, all_pages

from femur_nnunet.plan_settings import FemurPlanSettings

PAGES = all_pages()
PYTHON_BLOCKS = [block for page in PAGES for block in page.code_blocks if block.language == "python"]
ROOMS = ("planners", "trainers", "dataset_conversion", "evaluation")
SOURCES = [path for folder in ("femur_nnunet", *ROOMS, "benchmarks", "docs/scripts")
           for path in sorted((ROOT / folder).rglob("*.py"))]
SETTINGS = FemurPlanSettings().to_dict()
# Text like docs/metrics.md or benchmarks/results/site_gap.csv, wherever it stands.
_PATH = re.compile(r"(?<![\w/.$}-])(?:docs|benchmarks|tests|femur_nnunet|planners|trainers|dataset_conversion"
                   r"|evaluation|\.ci)/[\w./*-]*\.(?:py|md|csv|json|html|png|jpg|svg|zip)\b")


@cache
def tracked_files() -> tuple[str, ...]:
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True)
    return tuple(listed.stdout.splitlines())


def missing_paths(text: str) -> list[str]:
    return [name for name in _PATH.findall(text) if not list(ROOT.glob(name))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_exists(page: Page):
    file_names = {Path(name).name for name in tracked_files()}
    lone = [span for _, span in page.code_spans if re.fullmatch(r"\w+\.py", span) and span not in file_names]
    assert not missing_paths(page.text) + lone


def test_every_file_that_the_code_names_exists():
    wrong = {path.name: missing_paths(path.read_text(encoding="utf-8")) for path in SOURCES}
    # The usage of a benchmark names the picture that it draws.
    wrong = {name: [path for path in missing if not path.startswith("docs/images/")] for name, missing in wrong.items()}
    assert not any(wrong.values()), wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Page):
    wrong = []
    for line, target in page.links:
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        path = page.path.parent / file if file else page.path
        if not path.exists():
            wrong.append(f"{page.name}:{line}: no file {target}")
        elif anchor and anchor not in Page(path.resolve()).anchors:
            wrong.append(f"{page.name}:{line}: no heading {target}")
    assert not wrong, "\n".join(wrong)


def has_name(dotted: str) -> bool:
    """Whether a dotted name is a module of ours, or a name defined or imported in one."""
    parts = dotted.split(".")
    for end in range(len(parts), 0, -1):
        inside = parts[1:end] if len(parts) > 1 and parts[1] in ROOMS else parts[:end]
        base = ROOT.joinpath(*inside)
        if base.with_suffix(".py").is_file() or base.is_dir():
            source = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
            rest = parts[end:]
            return not rest or (source.is_file() and rest[0] in source.read_text(encoding="utf-8"))
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_and_every_setting_that_a_page_names_exists(page: Page):
    wrong = []
    for line, span in page.code_spans:
        dotted = re.fullmatch(r"((?:femur_nnunet|evaluation)(?:\.\w+)+)(?:\(.*)?", span)
        if dotted:
            name = dotted[1] if dotted[1].startswith("femur_nnunet") else f"femur_nnunet.{dotted[1]}"
            if not has_name(name):
                wrong.append(f"{page.name}:{line}: no {name}")
        setting = re.match(r"(?:--set |--grid )?([a-z]+)\.(?!(?:csv|json|md|png|sha256)\b)([a-z]\w*)(?=$|[= :])", span)
        if setting and setting[1] in SETTINGS and setting[1] != "schema" and setting[2] not in SETTINGS[setting[1]]:
            wrong.append(f"{page.name}:{line}: no setting {setting[0]}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("block", PYTHON_BLOCKS, ids=str)
def test_python_in_a_page_compiles_and_imports_what_is_there(block: CodeBlock):
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("femur_nnunet"):
            for alias in node.names:
                assert has_name(f"{node.module}.{alias.name}"), f"{block}: {node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "femur_nnunet":
            assert has_name(f"femur_nnunet.{node.attr}"), f"{block}: femur_nnunet.{node.attr}"


def test_wrong_names_are_told(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A title\n\n[here](page.md#a-title) [there](page.md#none) [away](none.md) see docs/none.md\n",
                    encoding="utf-8")
    assert missing_paths(page.read_text(encoding="utf-8")) == ["docs/none.md"]
    assert Page(page).links == [(3, "page.md#a-title"), (3, "page.md#none"), (3, "none.md")]
    assert Page(page).anchors == {"a-title"}
    assert has_name("femur_nnunet.evaluation.density.measurement.measure_density")
    assert not has_name("femur_nnunet.evaluation.density.measurement.measure_nothing")
    assert not has_name("femur_nnunet.nothing")
