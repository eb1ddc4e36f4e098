"""Material for the demo: a small synthetic corpus in IEMOCAP's formats, and tiny untrained encoders."""
