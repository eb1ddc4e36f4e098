"""The picture of the packages: current, and drawn from imports that form no circle."""

import graphlib
import xml.etree.ElementTree as ElementTree

import pytest

from docs import draw_packages


def test_picture_is_what_the_imports_draw():
    drawn = draw_packages.picture()
    assert draw_packages.PICTURE.read_text(encoding="utf-8") == drawn, "run: python docs/draw_packages.py"


def test_imports_of_packages_form_no_circle():
    rows = draw_packages.layers(draw_packages.imports())
    assert rows[-1] == ["stages"]


def test_picture_is_xml_with_a_box_for_each_package():
    root = ElementTree.fromstring(draw_packages.picture())
    labels = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"stages/", "corpora/", "training/", "settings.py"} <= set(labels)


def test_a_circle_is_refused():
    graph = {"a": frozenset("b"), "b": frozenset("a")}
    with pytest.raises(graphlib.CycleError):
        draw_packages.draw(graph, frozenset("ab"))


def test_arrows_that_follow_from_others_are_left_out():
    graph = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset()}
    assert draw_packages.reduced(graph) == {"a": frozenset("b"), "b": frozenset("c"), "c": frozenset()}
