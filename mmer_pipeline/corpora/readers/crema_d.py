"""CREMA-D (Cao et al. 2014, doi 10.1109/TAFFC.2014.2336244): twelve sentences, 91 actors, 7,442 clips.

Licence: Open Database License 1.0; the contents: Database Contents License 1.0.
Source: https://github.com/CheyneyComputerScience/CREMA-D (the recordings are stored with git-lfs).

All facts are in the file name, `AudioWAV/1001_DFA_ANG_XX.wav`: actor, sentence, emotion, level. The emotion is the
intended one; listeners perceived another in more than half of the clips (recognition from the voice alone: 40.9 %).
The official tree has one level of a single letter (`1040_ITH_SAD_X`) and one silent recording (`1076_MTI_SAD_XX`).

The corpus has no sessions. Every fifth actor forms one instead (18 or 19 actors, 7 to 11 of them women). An
actor's utterances were recorded together, so the actor is the dialogue.
"""

import re
from pathlib import Path

from mmer_pipeline.corpora.readers.folder_walk import contents, recordings, refuse_pointer, unrecognised_names
from mmer_pipeline.corpora.readers.reader_interface import Reading
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError

AUDIO_FOLDER = "AudioWAV"
ACTORS = 91  # 1001 … 1091
CLIPS = 7442
SESSIONS = 5
EMOTIONS = {"ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
LEVELS = ("LO", "MD", "HI", "XX")
SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}

_NAME = re.compile(
    rf"(?P<actor>10[0-8][0-9]|109[01])_(?P<sentence>{'|'.join(SENTENCES)})_(?P<emotion>{'|'.join(EMOTIONS)})"
    rf"_(?:{'|'.join(LEVELS)}|X)"
)


def read_crema_d(root: Path) -> Reading:
    """Read the recordings in `AudioWAV`, or in `root` itself.

    Raises:
        UserError: there is no recording of the corpus, or the recordings are git-lfs pointers.
    """
    folder = root / AUDIO_FOLDER if (root / AUDIO_FOLDER).is_dir() else root
    utterances, others = [], []
    for file in recordings(folder) if folder.is_dir() else []:
        name = file.relative_to(root).as_posix()
        match = _NAME.fullmatch(file.stem)
        if match is None or match["actor"] == "1000":
            others.append(name)
        else:
            utterances.append(_utterance(name, match))
    if not utterances:
        raise UserError(
            f"{root} is not CREMA-D. Expected a folder {AUDIO_FOLDER} with recordings such as "
            f"1001_DFA_ANG_XX.wav. Found in {folder}: {contents(folder)}."
        )
    refuse_pointer(root / utterances[0].audio)
    notes = unrecognised_names(others, "1001_DFA_ANG_XX.wav")
    actors = len({utterance.speaker for utterance in utterances})
    if (actors, len(utterances)) != (ACTORS, CLIPS):
        notes.append(f"found {len(utterances)} recordings of {actors} actors; the corpus has {CLIPS} of {ACTORS}")
    return Reading(root, root, tuple(utterances), "crema-d-4", tuple(notes))


def _utterance(name: str, match: re.Match[str]) -> Utterance:
    actor = match["actor"]
    return Utterance(
        utterance_id=match[0],
        audio=name,
        start_seconds=None,
        end_seconds=None,
        speaker=actor,
        session=str((int(actor) - 1001) % SESSIONS + 1),
        dialogue=actor,
        emotion=EMOTIONS[match["emotion"]],
        transcript=SENTENCES[match["sentence"]],
    )
