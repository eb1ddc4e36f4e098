"""The name of the demo's corpus, which is synthetic and has the form of IEMOCAP."""

CORPUS_NAME = "demo-synthetic"  # in the manifest, reports and model cards
README_NAME, README_BEGINS = "README.txt", "This is not IEMOCAP."  # how its tree says so
