"""The demo's material: a small synthetic corpus in IEMOCAP's formats, and tiny untrained encoders."""
