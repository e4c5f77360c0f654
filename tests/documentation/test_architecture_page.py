"""The map of the house says what the rules say."""

from __future__ import annotations

import re

import draw_architecture
import pytest
from import_rules import ROOM_RULES, room_of_folder, room_of_module
from markdown_pages import ROOT, Page

PAGE = Page(ROOT / "docs" / "architecture.md")


def table() -> dict[str, list[str]]:
    section = PAGE.text.split("## What may import what")[1]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines()
            if line.startswith("| `")]
    return {re.sub(r"[`/]+$", "", cells[0].strip("`")): cells for cells in rows}


@pytest.mark.parametrize("rule", ROOM_RULES, ids=lambda rule: rule.folder)
def test_the_table_and_the_figure_say_what_a_room_may_import(rule):
    _, installed_as, _, may_import, never = table()[rule.folder]
    assert installed_as == f"`{rule.package}`"
    assert tuple(re.findall(r"`([^`]+)`", may_import)) == rule.may_import
    assert set(filter(None, never.split(", "))) == set(rule.never)
    assert draw_architecture.IMPORTS[rule.folder] == rule.may_import


def test_the_table_and_the_figure_have_the_rooms_of_the_rules():
    folders = {rule.folder for rule in ROOM_RULES}
    assert set(table()) == folders == set(draw_architecture.IMPORTS)
    for rule in ROOM_RULES:
        assert (ROOT / rule.folder).is_dir()
        assert f"{rule.folder}/" in draw_architecture.picture()


def test_rooms_without_networks_are_marked_in_the_figure():
    notes = dict(room for _, room in draw_architecture.WAY if room)
    for rule in ROOM_RULES:
        if f"{rule.folder}/" in notes:
            assert ("no torch" in notes[f"{rule.folder}/"]) == ("torch" in rule.never)


def test_the_picture_is_what_its_script_draws():
    assert draw_architecture.PICTURE.read_text(encoding="utf-8") == draw_architecture.picture(), "run: make reference"


def test_rooms_are_told_apart_by_path_and_by_module():
    assert room_of_folder("femur_nnunet/drivers/probe.py").package == "femur_nnunet.drivers"
    assert room_of_folder("femur_nnunet/cohort.py").package == "femur_nnunet"
    assert room_of_module("femur_nnunet.evaluation.compare").folder == "evaluation"
    assert room_of_module("femur_nnunet.cohort").folder == "femur_nnunet"
    assert room_of_module("femur_nnunet_other") is None
    assert room_of_module("torch.nn") is None
