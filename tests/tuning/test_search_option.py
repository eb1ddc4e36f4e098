"""The option `--search`: ranges and lists of values, checked against the limits of the settings."""

import click
import pytest

from mmer_pipeline.tuning.space import corners, feature_choices
from stages.search_option import parse_search


def parsed(*texts):
    return parse_search(None, None, texts)


@pytest.mark.parametrize(
    ("text", "examples", "log"),
    [
        ("learning-rate=1e-5:1e-3:log", (1e-5, 1e-3), True),
        ("dropout=0:0.5", (0.0, 0.5), False),
        ("epochs=2:10", (2, 10), False),
        ("batch_size=4,8,16", (4, 8, 16), False),
        ("gate=on,off", (True, False), False),
        ("head-learning-rate=same,1e-3", (None, 1e-3), False),
        ("schedule=linear,decay", ("linear", "decay"), False),
    ],
)
def test_a_setting_has_a_range_or_a_list_in_its_type(text, examples, log):
    (dimension,) = parsed(text)
    assert (dimension.examples, dimension.log) == (examples, log)
    assert [type(value) for value in dimension.examples] == [type(value) for value in examples]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning-rat=1:2", "there is no setting 'learning-rat'"),
        ("learning-rate", "expected NAME=LOW:HIGH"),
        ("learning-rate=0.1", "at least two different values"),
        ("batch-size=4,4", "at least two different values"),
        ("learning-rate=1e-3:1e-5", "expected the lower end first, found 1e-3:1e-5"),
        ("learning-rate=0:1", "learning-rate"),  # its limit: above 0
        ("dropout=0:1", "dropout"),  # below 1
        ("weight-decay=0:1:log", "a logarithmic range begins above 0"),
        ("weight-decay=0:1:ln", "expected NAME=LOW:HIGH"),
        ("epochs=1.5:3", "epochs"),
        ("gate=yes,no", "expected on or off, found 'yes'"),
        ("schedule=linear,staircase", "schedule"),
        ("validation=speaker,session", "trials that differ in it cannot be compared"),
        ("seed=1,2", "trials that differ in it cannot be compared"),
    ],
)
def test_what_is_not_valid_is_refused_with_its_text(text, message):
    with pytest.raises(click.BadParameter) as caught:
        parsed(text)
    assert message in caught.value.message


def test_a_setting_is_searched_once():
    with pytest.raises(click.BadParameter, match="batch-size appears twice"):
        parsed("batch-size=4,8", "batch_size=2,4")


def test_every_value_is_checked_and_features_are_those_of_all_combinations():
    space = parsed("learning-rate=1e-5:1e-3", "annotations=strip,keep", "dtype=float16,float32")
    assert corners(space)[0] == {"learning_rate": 1e-5, "annotations": "strip", "dtype": "float16"}
    assert len(corners(space)) == 4
    assert len(feature_choices(space)) == 4
    assert feature_choices(space[:1]) == [{}]
