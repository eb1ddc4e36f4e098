"""The weights of the package Resemblyzer (Resemble AI, Apache-2.0): a speaker network that was trained by GE2E.

Only the file with its weights is read. The package itself is not imported: it needs librosa and webrtcvad, which must$
be compiled. This module imports no torch.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from mmer_pipeline.digests import digest_of_result
from mmer_pipeline.errors import UserError

NAME = "Resemblyzer"
BANDS, EMBEDDING = 40, 256  # numbers in a mel frame, and in a speaker embedding
# Frames of a recording besides one for every 10 ms: that at its beginning, and two in which its last samples are.
EXTRA_FRAMES = 3
DIGEST = "39373b86598fa3da"  # of the weights, as `digests.digest_of_result`
_FILE, _VERSION = "resemblyzer/pretrained.pt", "0.1.4"
INSTALL = f"pip install --no-deps {NAME}=={_VERSION}"


def weights_file() -> Path:
    """The file with the weights.

    Raises:
        UserError: the package is not installed, or its weights are others; the message says how to install it.
    """
    try:
        path = Path(str(distribution(NAME).locate_file(_FILE)))
    except PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise UserError(
            f"The weights of the speaker network come with the package {NAME}, which is not installed. Run "
            f"`{INSTALL}` (17 MB): only the file with its weights is read, so the packages that it depends on are not "
            "needed."
        )
    if (found := digest_of_result(path)) != DIGEST:
        raise UserError(
            f"{path} is damaged, or of another version than {_VERSION}: expected the digest {DIGEST}, found {found}. "
            f"Run `{INSTALL} --force-reinstall`."
        )
    return path
