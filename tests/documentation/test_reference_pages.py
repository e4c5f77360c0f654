"""Pages that a script writes are what it gives; every page has its place in the site."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
from command_parsers import actions_of, console_scripts, parser_of
from markdown_pages import ROOT, Page
from write_reference import attribute_meanings, pages

from femur_nnunet.plan_settings import FemurPlanSettings

INDEX = Page(ROOT / "docs" / "index.md")


@pytest.mark.parametrize("name", ["commands.md", "plan_settings.md"])
def test_a_generated_page_is_what_its_script_gives(name):
    path = ROOT / "docs" / name
    assert path.read_text(encoding="utf-8") == pages()[path], "run: make reference"


def test_the_reference_names_every_option_of_every_command():
    text = Page(ROOT / "docs" / "commands.md").text
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(console_scripts())
    for command, section in sections.items():
        for parser in (parser_of(command), *actions_of(parser_of(command)).values()):
            for action in parser._actions:
                if action.dest not in ("help", "version"):
                    assert all(option in section for option in action.option_strings), command


def test_every_setting_of_a_plan_has_a_meaning():
    for block in fields(FemurPlanSettings):
        settings = block.default_factory()
        documented = attribute_meanings(type(settings).__doc__)
        assert [name for names in documented for name in names] == [item.name for item in fields(settings)]
        assert all(documented.values())


def test_every_page_stands_once_in_the_index():
    listed = [target for _, target in INDEX.links]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md")


def test_the_index_has_the_four_kinds_of_pages():
    assert re.findall(r"^## (.+)$", INDEX.text, re.MULTILINE) == ["Get started", "How-to", "Concepts", "Reference"]
