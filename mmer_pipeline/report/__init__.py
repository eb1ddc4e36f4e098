"""The report: what runs say together, as one dict of plain values, and everything that is drawn from it."""
