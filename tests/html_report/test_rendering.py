from __future__ import annotations

import jinja2
import pytest

from femur_nnunet.html_report.rendering import render


def page(**changes):
    return render("preflight.html", **{"reports": [], "counts": {"stop": 0, "look": 0, "go": 0}, "warnings": [],
                                       "go": 0, "version": "1", **changes})


def test_text_is_escaped():
    assert "&lt;script&gt;" in page(warnings=["<script>"])


def test_a_value_that_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        render("preflight.html", reports=[])
