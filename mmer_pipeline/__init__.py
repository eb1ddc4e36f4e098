"""MMER: speech emotion recognition from a recording and its transcript (Ghosh, Srivastava, Umesh, arXiv 2203.16794)."""

__version__ = "0.1.0"
