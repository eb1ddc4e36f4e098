"""EMO-DB (Burkhardt et al. 2005, doi 10.21437/Interspeech.2005-446): ten German sentences, ten actors, 535 utterances.

Licence: none stated, to our knowledge. The corpus is public and free of charge; the authors ask to be cited.
Source: http://emodb.bilderbar.info (download.zip).

All facts are in the file name, `wav/03a01Fa.wav`: speaker, sentence, emotion (the first letter of the German word),
version. The corpus contains only utterances that 80 % of the listeners recognised and 60 % found natural, so the
classes differ in size: anger 127, boredom 81, neutral 79, happiness 71, fear 69, sadness 62, disgust 46.

The corpus has no sessions. Five pairs of actors (a man and a woman) form them instead; `--folds speaker` holds out
one actor at a time, as most papers do. The actor is the dialogue.

The sentences are German: CTC spells their umlauts only with `--ctc-alphabet corpus`.
"""

import re
from pathlib import Path

from mmer_pipeline.corpora.readers.folder_walk import contents, recordings, unrecognised_names
from mmer_pipeline.corpora.readers.reader_interface import Reading
from mmer_pipeline.corpora.utterances import Utterance
from mmer_pipeline.errors import UserError

AUDIO_FOLDER = "wav"
ACTORS = 10
UTTERANCES = 535
PAIRS = (("03", "08"), ("10", "09"), ("11", "13"), ("12", "14"), ("15", "16"))  # each a man and a woman
EMOTIONS = {
    "W": "anger",  # Wut
    "L": "boredom",  # Langeweile
    "E": "disgust",  # Ekel
    "A": "fear",  # Angst
    "F": "happiness",  # Freude
    "T": "sadness",  # Trauer
    "N": "neutral",
}
SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

_SESSION = {speaker: str(number) for number, pair in enumerate(PAIRS, start=1) for speaker in pair}
_NAME = re.compile(
    rf"(?P<speaker>{'|'.join(_SESSION)})(?P<sentence>{'|'.join(SENTENCES)})(?P<emotion>[{''.join(EMOTIONS)}])[a-z]?"
)


def read_emo_db(root: Path) -> Reading:
    """Read the recordings in `wav`, or in `root` itself.

    Raises:
        UserError: there is no recording of the corpus.
    """
    folder = root / AUDIO_FOLDER if (root / AUDIO_FOLDER).is_dir() else root
    utterances, others = [], []
    for file in recordings(folder) if folder.is_dir() else []:
        name = file.relative_to(root).as_posix()
        match = _NAME.fullmatch(file.stem)
        if match is None:
            others.append(name)
        else:
            utterances.append(_utterance(name, match))
    if not utterances:
        raise UserError(
            f"{root} is not EMO-DB. Expected a folder {AUDIO_FOLDER} with recordings such as 03a01Fa.wav. "
            f"Found in {folder}: {contents(folder)}."
        )
    notes = unrecognised_names(others, "03a01Fa.wav")
    actors = len({utterance.speaker for utterance in utterances})
    if (actors, len(utterances)) != (ACTORS, UTTERANCES):
        notes.append(f"found {len(utterances)} recordings of {actors} actors; the corpus has {UTTERANCES} of {ACTORS}")
    return Reading(root, root, tuple(utterances), "emo-db-4", tuple(notes))


def _utterance(name: str, match: re.Match[str]) -> Utterance:
    speaker = match["speaker"]
    return Utterance(
        utterance_id=match[0],
        audio=name,
        start_seconds=None,
        end_seconds=None,
        speaker=speaker,
        session=_SESSION[speaker],
        dialogue=speaker,
        emotion=EMOTIONS[match["emotion"]],
        transcript=SENTENCES[match["sentence"]],
    )
