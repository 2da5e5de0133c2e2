"""The plot of methods over sizes: what is in it, and that it is the same each time."""

from __future__ import annotations

import warnings
import xml.etree.ElementTree as ET

import matplotlib
import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from kcircuits.errors import KCircuitsError
from kcircuits.sizes import MethodCurve, Point, SizeComparison
from kcircuits.sizes.methods import known_names
from kcircuits.sizes.size_plot import draw_sizes, sizes_svg
from tests.circuits import identity_for
from tests.report.results import TINY, comparison

SVG = "{http://www.w3.org/2000/svg}"


def axes_of(made):
    return made.plot(Figure().subplots())


def comparison_of(*curves):
    return SizeComparison(identity_for(TINY), {}, 0.5, 4.5, curves)


def test_the_points_are_where_they_belong():
    made = comparison()
    axes = axes_of(made)
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert lines["eap"].get_xydata().tolist() == [[5 / TINY.num_edges, 0.5], [50 / TINY.num_edges, 0.9375]]
    assert lines["plain"].get_xydata().tolist() == [[7 / TINY.num_edges, 1.25]]
    heights = [line.get_ydata()[0] for line in axes.get_lines() if line.get_label().startswith("_")]
    assert sorted(heights) == [0, 1]
    (band,) = axes.collections
    low, high = band.get_datalim(axes.transData).intervaly
    assert (low, high) == (-0.5, 0.75)
    assert axes.get_xscale() == "log"
    assert axes.get_ylabel() == "faithfulness"


def test_every_method_has_a_colour_and_a_marker_of_its_own():
    names = [*known_names(), "another tool's"]
    axes = axes_of(comparison_of(*(MethodCurve(name, (Point(2, 0.5),), 1.0, None, None) for name in names)))
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert len({lines[name].get_color() for name in names}) == len(names)
    assert len({lines[name].get_marker() for name in names}) == len(names)


def test_far_points_do_not_press_the_rest_flat_and_are_counted():
    axes = axes_of(comparison_of(MethodCurve("eap", (Point(2, -40.0), Point(9, 0.5)), 1.0, None, None)))
    low, high = axes.get_ylim()
    assert low > -1 < 1 < high
    assert axes.get_ylabel() == "faithfulness (1 outside the picture)"


def test_svg_is_the_same_each_time_and_has_no_date():
    texts = {sizes_svg(comparison()) for _ in range(2)}
    assert len(texts) == 1
    assert "<dc:date>" not in texts.pop()


def test_text_in_the_svg_is_text():
    root = ET.fromstring(sizes_svg(comparison()))
    texts = {"".join(element.itertext()) for element in root.iter(f"{SVG}text")}
    assert {"eap", "random", "faithfulness", "edges", "share of the model's edges", "10 %"} <= texts


AWKWARD = '_$x^2$ </text><script>alert(1)</script>&\x00\n\u202e"'


def test_awkward_names():
    text = sizes_svg(comparison(AWKWARD))
    root = ET.fromstring(text)
    assert not list(root.iter(f"{SVG}script"))
    assert "\x00" not in text
    assert any("$x^2$" in "".join(element.itertext()) for element in root.iter(f"{SVG}text"))


def test_letters_that_our_font_lacks():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "国语" in sizes_svg(comparison("国语"))


def test_nothing_global_is_changed():
    before = dict(matplotlib.rcParams)
    sizes_svg(comparison())
    assert dict(matplotlib.rcParams) == before
    assert plt.get_fignums() == []


def test_files(tmp_path):
    draw_sizes(comparison(), tmp_path / "sizes.svg")
    draw_sizes(comparison(), tmp_path / "sizes.PNG")
    assert (tmp_path / "sizes.svg").read_text() == sizes_svg(comparison())
    assert (tmp_path / "sizes.PNG").read_bytes().startswith(b"\x89PNG\r\n")
    draw_sizes(comparison(), tmp_path / "sizes.pdf")
    assert (tmp_path / "sizes.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["sizes", "sizes.gif"])
def test_other_kinds_of_file(tmp_path, name):
    with pytest.raises(KCircuitsError, match=r"must end in \.svg, \.png or \.pdf, got .*sizes"):
        draw_sizes(comparison(), tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_draw(tmp_path):
    with pytest.raises(KCircuitsError, match="no method has a circuit with edges"):
        draw_sizes(comparison_of(MethodCurve("acdc", (Point(0, 0.0),), 1.0, None, None)), tmp_path / "s.svg")
    assert list(tmp_path.iterdir()) == []
