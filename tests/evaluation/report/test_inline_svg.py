from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import matplotlib
from matplotlib.figure import Figure

from femur_nnunet.evaluation.report.figures.inline_svg import picture
from femur_nnunet.evaluation.report.figures.look import COLOURS, LINES, MARKERS, Look, new_figure


def line() -> Figure:
    figure = new_figure(1.5, 2.0)
    axes = figure.subplots()
    axes.plot([1, 2], marker="o")
    axes.set_xlabel("HD95 (mm) <& more>")
    return figure


def test_two_figures_share_no_id_and_each_uses_its_own():
    first, second = (ElementTree.fromstring(picture(name, line, alt="a & b", caption="").svg) for name in ("a", "b"))
    idents = [{element.get("id") for element in one.iter() if element.get("id")} for one in (first, second)]
    assert idents[0]
    assert not idents[0] & idents[1]
    used = {element.get("href").removeprefix("#") for element in first.iter() if element.get("href")}
    assert used
    assert used <= idents[0]


def test_words_are_escaped_and_text_stays_text():
    drawn = ElementTree.fromstring(picture("a", line, alt='"a" & <b>', caption="").svg)
    assert drawn.get("aria-label") == '"a" & <b>'
    assert "HD95 (mm) <& more>" in [text.text for text in drawn.iter("text")]


def test_a_figure_is_the_same_every_time_and_leaves_no_setting_behind():
    before = dict(matplotlib.rcParams)
    assert picture("a", line, alt="", caption="").svg == picture("a", line, alt="", caption="").svg
    assert dict(matplotlib.rcParams) == before


def test_sites_and_arms_differ_in_colour_marker_and_line():
    look = Look(["a", "b", "c"], ["x", "y", "z", "u"])
    for style in (look.site("a"), look.site("b"), look.site("c")):
        assert set(style) == {"color", "marker"}
    assert len({tuple(look.arm(arm).items()) for arm in look.arms}) == 4
    assert len({str(look.arm_line(arm)) for arm in look.arms}) == 4
    assert len(set(COLOURS)) == len(COLOURS) == len(set(MARKERS)) == len({str(line) for line in LINES})
