"""prepare: from a corpus on disk to a checked manifest.

Readers of corpora, the manifest, label maps, transcripts, folds. Imports nothing of the packages beside it.
"""
