"""MMER: speech emotion recognition from a recording and its transcript (Ghosh, Srivastava, Umesh, arXiv 2203.16794).

`EmotionRecognizer` uses a trained model.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmer_pipeline.prediction.recognizer import EmotionRecognizer

__version__ = "0.1.0"
__all__ = ["EmotionRecognizer", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the recognizer on first use: it imports torch, which commands such as `--help` do without."""
    if name == "EmotionRecognizer":
        from mmer_pipeline.prediction.recognizer import EmotionRecognizer

        return EmotionRecognizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
