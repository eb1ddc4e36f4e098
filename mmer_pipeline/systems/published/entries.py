"""The systems of other publications by name. This module imports nothing heavy."""

from mmer_pipeline.systems.entry import System

PUBLISHED: dict[str, System] = {}
