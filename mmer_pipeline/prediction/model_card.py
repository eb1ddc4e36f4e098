"""The card of a packed model: the README.md that the Hugging Face hub shows."""

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import PureWindowsPath

from huggingface_hub import EvalResult, ModelCardData

from mmer_pipeline.corpora.folds import SPLIT
from mmer_pipeline.corpora.random_folds import RANDOM
from mmer_pipeline.corpora.readers import FORMS
from mmer_pipeline.corpora.speaker_folds import group_count
from mmer_pipeline.encoders.embedded import is_embedded
from mmer_pipeline.licences import licence_for_model, licence_of_corpus, licence_of_encoder
from mmer_pipeline.names import in_markdown
from mmer_pipeline.prediction.card_facts import CardFacts, Score

TASK = "audio-classification"  # as the hub calls it
MOST_NAMED = 12  # held-out values that are listed; of more, only the number is given
NOTHING = "–"
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)  # owner/name
_METRIC_NAMES = {"WA": "Weighted accuracy", "UA": "Unweighted accuracy (mean recall)"}
_ANNOTATIONS = {"strip": "removed", "keep": "kept", "mask": "masked"}
_CITATION = """\
```bibtex
@misc{ghosh2022mmer,
  title = {{MMER}: Multimodal Multi-task learning for Emotion Recognition in Spoken Utterances},
  author = {Ghosh, Sreyan and Srivastava, Harshvardhan and Umesh, S.},
  year = {2022},
  eprint = {2203.16794},
  archivePrefix = {arXiv}
}

@software{mmer_pipeline,
  title = {mmer-pipeline: speech emotion recognition from recording and transcript},
  author = {{The mmer-pipeline maintainers}}
}
```"""


def model_card(facts: CardFacts) -> str:
    """Write the card: metadata in YAML, then the page in Markdown. The same facts give the same text."""
    sections = {
        "Use": _use(facts),
        "Classes": f"In the order of the output: {', '.join(map(in_markdown, facts.labels))}.",
        "Training": _training(facts),
        "Scores": _scores(facts),
        "Limits": _bullets(_limits(facts)),
        "Licences": _licences(facts),
        "Versions": ", ".join(in_markdown(f"{name} {version}") for name, version in sorted(facts.versions.items())),
        "Citation": f"Please cite the paper, the software, and the corpus.\n\n{_CITATION}",
    }
    page = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text)
    return f"---\n{_metadata(facts).to_yaml()}\n---\n\n# {in_markdown(facts.name)}\n\n{_summary(facts)}\n\n{page}\n"


def _metadata(facts: CardFacts) -> ModelCardData:
    modalities = ["multimodal"] if len(facts.encoders) > 1 else []
    return ModelCardData(
        library_name="mmer-pipeline",
        pipeline_tag=TASK,
        license=licence_for_model(facts.corpus, facts.encoders),
        tags=["speech-emotion-recognition", "emotion-recognition", "speech", *modalities],
        base_model=[name for name in facts.encoders if _is_hub_id(name)] or None,
        metrics=list(dict.fromkeys(score.metric for score in facts.scores)) or None,
        model_name=_line(facts.name) if facts.scores else None,
        eval_results=[_eval_result(facts, score) for score in facts.scores] or None,
    )


def _eval_result(facts: CardFacts, score: Score) -> EvalResult:
    of_folds = facts.scores_of == "folds"
    return EvalResult(
        task_type=TASK,
        task_name="Speech emotion recognition",
        dataset_type=_line(facts.corpus),
        dataset_name=_corpus_name(facts),
        dataset_split=f"held out: {_held_out(facts)}",
        metric_type=score.metric,
        metric_name=f"{_METRIC_NAMES.get(score.name, score.name)}, {_mean_of(facts) if of_folds else 'held-out part'}",
        metric_value=round(score.mean if of_folds else score.pooled, 4),
        metric_args={"average": "macro"} if score.metric == "recall" else None,
    )


def _summary(facts: CardFacts) -> str:
    if facts.text_encoder and facts.speech_encoder and facts.transcripts != "none":
        inputs = "a recording and its transcript"
    else:
        inputs = "a recording" if facts.speech_encoder else "the transcript of a recording"
    models = f"ensemble of {len(facts.members)} emotion classifiers" if _is_ensemble(facts) else "emotion classifier"
    return (
        f"An {models} for speech: {in_markdown(facts.title)}. It reads {inputs}, and answers with one of "
        f"{len(facts.labels)} classes. It was trained with mmer-pipeline, which implements the systems of "
        "[MMER](https://arxiv.org/abs/2203.16794)."
    )


def _use(facts: CardFacts) -> str:
    name = f"path/to/{_line(facts.name)}"
    transcript = ""
    if facts.text_encoder and facts.asr_model:
        transcript = f" A recording without a transcript is transcribed by {in_markdown(_shown(facts.asr_model))}."
    elif facts.text_encoder and facts.transcripts != "none":
        transcript = " It names no ASR model, so give the transcripts, too."
    return (
        f"```sh\nmmer-pipe predict recording.wav --model {shlex.quote(name)}\n```\n\n"
        "```python\nfrom mmer_pipeline import EmotionRecognizer\n\n"
        f"recognizer = EmotionRecognizer.from_pretrained({json.dumps(name, ensure_ascii=False)})\n"
        'recognizer("recording.wav")\n```\n\n'
        f"Give the path to this folder, or the id of the model on the hub.{transcript}"
    )


def _training(facts: CardFacts) -> str:
    size = f", {facts.utterances:,} utterances" if facts.utterances is not None else ""
    rows = [("corpus", _corpus_name(facts) + size)]
    if facts.text_encoder:
        revision = f", revision {facts.text_revision}" if facts.text_revision else ""
        rows += [
            ("text encoder", _shown(facts.text_encoder) + revision),
            ("transcripts", _transcripts(facts)),
            ("annotations such as [LAUGHTER]", _ANNOTATIONS.get(facts.annotations, facts.annotations)),
        ]
    if facts.speech_encoder:
        rows.append(("speech encoder", _shown(facts.speech_encoder)))
    rows += [
        ("epochs", str(facts.epochs)),
        ("protocol", facts.protocol),
        ("seeds" if len(facts.seeds) > 1 else "seed", ", ".join(map(str, facts.seeds))),
        ("models in this package", "; ".join(facts.members)),
    ]
    return _table(("setting", "value"), rows)


def _transcripts(facts: CardFacts) -> str:
    if facts.transcripts == "asr":
        return f"by {_shown(facts.asr_model)}" if facts.asr_model else "by an ASR model"
    return {"gold": "the corpus's own", "none": "none"}.get(facts.transcripts, facts.transcripts)


def _scores(facts: CardFacts) -> str:
    if not facts.scores:
        return "This model comes without a cross-validation. How often it is right is not known."
    of_folds = facts.scores_of == "folds"
    spread = " ± SD" if any(score.deviation is not None for score in facts.scores) else ""
    columns = (f"{_mean_of(facts)}{spread}", "pooled") if of_folds else ("held-out part",)
    rows = [
        (score.name, *([_mean(score)] if of_folds else []), _percent(score.pooled), _interval(score))
        for score in facts.scores
    ]
    explained = (
        "In percent. WA is the share of utterances that are classified correctly, UA the mean of the classes' recalls; "
        f"guessing gives a UA of {_percent(1 / len(facts.labels))}."
    )
    if any(score.low is not None for score in facts.scores):
        explained += (
            " The intervals resample dialogues (utterances, where the corpus has none); they do not say how much the "
            "result of another training would differ."
        )
    return "\n\n".join((_table(("", *columns, "95 % interval"), rows, numbers=True), _whose_scores(facts), explained))


def _whose_scores(facts: CardFacts) -> str:
    """Say which models the scores belong to."""
    parts, then = in_markdown(_held_out(facts)), ""
    if facts.scores_of == "this model":
        said = f"**These figures are of this very model**, on the held-out part: {parts}."
    elif len(facts.folds) == 1:
        said = (
            "**These figures are not of this packed model itself.** They are of a model that was scored on the part "
            f"that it never heard: {parts}."
        )
    elif _is_ensemble(facts):
        said = (
            "**These figures are not of this ensemble.** Each fold's model was scored alone, on the part that it has "
            f"not heard: {parts}."
        )
        then = (
            " Together, however, the models of the ensemble have heard all speakers, so no part is left to score the "
            "ensemble on."
        )
    else:
        said = (
            "**These figures are not of this packed model itself.** They are of the models of the cross-validation's "
            f"folds, each scored on the held-out part: {parts}."
        )
        then = " The figures say how well this way of training works."
    if facts.fold_column == SPLIT:
        speakers = "Speakers of this part are also in the training part, and known voices are easier."
    else:
        speakers = "No speaker of a held-out part is in the training part."
    return f"{said} {speakers}{then}"


def _limits(facts: CardFacts) -> list[str]:
    limits = [
        "It has learned how emotions sound in one corpus. In acted speech, of which most corpora consist, they are "
        "clearer than in daily life.",
        "Other languages, dialects, ages, microphones and rooms than the corpus's have not been tested.",
        f"It always answers with one of its {len(facts.labels)} classes, also where there is another emotion, a "
        "mixture, or no speech at all.",
    ]
    if facts.text_encoder and facts.asr_model and facts.transcripts == "gold":
        limits.append(
            "It was trained on the corpus's own transcripts. Transcripts by ASR have errors, and the scores do not "
            "show what these cost."
        )
    elif facts.text_encoder and facts.asr_model:
        limits.append("Errors of the ASR model in the transcript can change the answer.")
    limits.append(
        "It guesses what an utterance sounds like, not what a person feels. Do not use it for decisions about people, "
        "such as hiring, grading, policing or care."
    )
    return limits


def _licences(facts: CardFacts) -> str:
    named = [(f"Corpus: {in_markdown(_corpus_name(facts))}", licence_of_corpus(facts.corpus))]
    named += [(f"Encoder: {in_markdown(_shown(name))}", licence_of_encoder(name)) for name in facts.encoders]
    lines = [
        f"{what}, {licence.title}. {licence.note}"
        if licence
        else f"{what}. Its licence is not known here; check it before you publish this model."
        for what, licence in named
    ]
    return (
        f"{_bullets(lines)}\n\nWhether a trained model falls under the licence of the recordings that it has learned "
        "from is not settled. `license` in the metadata assumes that it does; this is not legal advice."
    )


def _is_ensemble(facts: CardFacts) -> bool:
    return len(facts.members) > 1


def _mean_of(facts: CardFacts) -> str:
    """Say what a mean is over: "mean of 5 folds × 3 seeds"."""
    folds = f"{len(facts.folds)} fold" + ("s" if len(facts.folds) != 1 else "")
    return f"mean of {folds}" + (f" × {len(facts.seeds)} seeds" if len(facts.seeds) > 1 else "")


def _held_out(facts: CardFacts) -> str:
    """Name the held-out parts: "session 1, 2, 3"."""
    if facts.fold_column == SPLIT:
        return "the corpus's own test part"
    if facts.fold_column == RANDOM:
        return "random parts of the utterances, whose speakers are in training too"
    if len(facts.folds) > MOST_NAMED:
        if group_count(facts.fold_column):
            return f"{len(facts.folds)} groups of speakers"
        return f"{len(facts.folds)} values of {_line(facts.fold_column)}"
    unit = "speakers of" if group_count(facts.fold_column) else facts.fold_column
    return _line(f"{unit} {', '.join(facts.folds)}")


def _corpus_name(facts: CardFacts) -> str:
    if facts.corpus in FORMS:
        return f"own corpus ({facts.corpus})"
    return facts.corpus.upper() if licence_of_corpus(facts.corpus) else _line(facts.corpus)


def _is_hub_id(name: str) -> bool:
    """Whether a model's name is an id on the hub; one without an owner must be known, as it can also be a directory."""
    return not is_embedded(name) and (bool(_HUB_ID.fullmatch(name)) or licence_of_encoder(name) is not None)


def _shown(model: str) -> str:
    """The name of a model without the directories of a path."""
    if _is_hub_id(model) or is_embedded(model):
        return model
    return f"{PureWindowsPath(model).name} (a local directory)"


def _mean(score: Score) -> str:
    spread = "" if score.deviation is None else f" ± {_percent(score.deviation)}"
    return _percent(score.mean) + spread


def _interval(score: Score) -> str:
    if score.low is None or score.high is None:
        return NOTHING
    return f"{_percent(score.low)}–{_percent(score.high)}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = False) -> str:
    rule = ["---", *("---:" if numbers else "---" for _ in header[1:])]
    lines = [header, rule, *([in_markdown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
