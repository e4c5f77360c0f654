from __future__ import annotations

import jinja2
import pytest

from femur_nnunet.html_report.rendering import render, whole_options


def page(**changes):
    return render("preflight.html", **{"reports": [], "counts": {"stop": 0, "look": 0, "go": 0}, "warnings": [],
                                       "go": 0, "version": "1", **changes})


def test_text_is_escaped():
    assert "&lt;script&gt;" in page(warnings=["<script>"])


def test_a_value_that_lacks_is_an_error():
    with pytest.raises(jinja2.UndefinedError):
        render("preflight.html", reports=[])


def test_an_option_in_a_text_is_not_broken_at_its_hyphens_and_the_text_is_still_escaped():
    assert whole_options("<b> convert with --resample-irregular, or not -- so") == (
        '&lt;b&gt; convert with <span class="option">--resample-irregular</span>, or not -- so')
