"""Names and number formats of the report."""

from mmer_pipeline.report.formats import interval, p_value, signed, signed_interval


def test_number_formats():
    assert (signed(0.0268), signed(-0.0268), signed(-0.00001)) == ("+2.68", "−2.68", "0.00")
    assert interval({"interval_95": [0.7, 0.812]}) == "70.0–81.2"
    assert interval({"interval_95": None}) == ""
    assert signed_interval({"interval_95": [-0.01, 0.02]}) == "−1.0 … +2.0"
    assert (p_value(0.0312), p_value(0.0002), p_value(1.0), p_value(None)) == ("0.031", "0.0002", "1.000", "–")
