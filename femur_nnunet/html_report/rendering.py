"""Filling the package's HTML templates."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

TEMPLATES = Path(__file__).with_name("templates")


_OPTION = re.compile(r"--[a-z][a-z-]*[a-z]")


def whole_options(text: object) -> Markup:
    """Escape a text and keep the options of commands in it from being broken at their hyphens."""
    return Markup(_OPTION.sub(lambda option: f'<span class="option">{option[0]}</span>', str(escape(text))))


def render(template: str, **content: Any) -> str:
    """Fill a template of ``templates/``; every value is escaped, and a missing one is an error.

    Parameters
    ----------
    template : str
        File name.
    **content
        What the template names.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                                     keep_trailing_newline=True)
    environment.filters["whole_options"] = whole_options
    return environment.get_template(template).render(**content)
