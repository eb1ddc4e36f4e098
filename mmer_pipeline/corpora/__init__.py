"""prepare: from a corpus on disk to a checked manifest.

Corpus readers, manifest, label maps, transcripts, folds. Imports no other package of the project.
"""
