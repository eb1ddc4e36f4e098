"""Material for the demo: a small synthetic corpus in IEMOCAP's formats, and tiny untrained encoders."""

CORPUS_NAME = "demo-synthetic"  # in the manifest, reports and model cards
README_NAME, README_BEGINS = "README.txt", "This is not IEMOCAP."  # how the tree says that it is not the real corpus
