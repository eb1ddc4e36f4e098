"""predict: the emotions of recordings, with a trained model.

Reads the recordings and the model: a packed one, a run, or one from the hub. Writes what is asked for: a CSV or JSON
lines file of results, and explanations.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmer_pipeline.corpora.transcripts import ASR, NONE, TRANSCRIPT_SOURCES
from stages.setting_options import TakesTheRest
from stages.shared_options import DIRECTORY, FILE, Common, chain_run, common_options, say
from stages.train import FoldNumber

if TYPE_CHECKING:
    from mmer_pipeline.corpora.labels import LabelMap
    from mmer_pipeline.prediction.pipeline import Outcome
    from mmer_pipeline.prediction.recognizer import EmotionRecognizer
    from mmer_pipeline.prediction.result_files import ResultFile
    from mmer_pipeline.prediction.results import Item, Prediction

MOST_ROWS = 40  # that the terminal shows if the results are written to a file as well


@click.command(cls=TakesTheRest)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@click.option("--model", "name", metavar="DIR|RUN|ID",
              help="Packed model, name of a run, or id on the hub.  [the run of this chain, else mmer]")  # fmt: skip
@click.option("--fold", "numbers", type=FoldNumber(), multiple=True, metavar="K|none",
              help="Fold of the run whose model to use; several form an ensemble.  [none if it is trained, otherwise "
                   "all folds]")  # fmt: skip
@click.option("--revision", metavar="REV", help="Commit, tag or branch of a model on the hub.")
@click.option("--transcript", metavar="TEXT", help="What is said in the recording, if there is only one.")
@click.option("--transcripts", type=click.Choice(TRANSCRIPT_SOURCES),
              help="gold: only given ones; asr: automatic ones; none: no words.  [given, otherwise asr]")  # fmt: skip
@click.option("--cut", type=click.Choice(("auto", "always", "never")), default="auto", show_default=True,
              help="Cut recordings at pauses into utterances; auto: those of more than 30 seconds.")  # fmt: skip
@click.option("--truth", metavar="COLUMN", help="Column of the CSV file with the true emotion, to score predictions.")
@click.option("--label-map", metavar="NAME|FILE", help="Label map for the emotions of --truth, as for prepare.")
@click.option("--output", "-o", type=FILE,
              help="File for the results: .csv or .jsonl. A command that was killed goes on when it is run "
                   "again.")  # fmt: skip
@click.option("--explain", "explanations", type=DIRECTORY,
              help="Directory for explanations: which words and sounds the model used, as JSON and PNG.")  # fmt: skip
@click.option("--asr-model", metavar="NAME",
              help="Model for automatic transcripts: a Hugging Face id, a directory, or embedded/moonshine-tiny.  "
                   "[that of the trained model's settings]")  # fmt: skip
@click.option("--asr-revision", metavar="REV", help="Commit, tag or branch of the ASR model on the hub.")
@common_options
def predict(
    common: Common, inputs: tuple[Path, ...], name: str | None, numbers: tuple[int, ...], **options: Any
) -> None:
    """Recognise the emotions of recordings.

    PATH is a recording in any format that libsndfile reads, a folder of recordings, or a CSV file with a column
    `audio` and, if known, start_seconds, end_seconds, transcript and utterance_id. If a recording cannot be used, the
    others are predicted and the exit code is 1.
    """
    say(common, "Loading libraries …")
    from mmer_pipeline.prediction.inputs import find_items
    from mmer_pipeline.prediction.recognizer import EmotionRecognizer
    from mmer_pipeline.prediction.result_files import check_result_path
    from mmer_pipeline.prediction.trained_model import find_model
    from stages.progress import quiet_libraries

    quiet_libraries()
    if options["label_map"] and not options["truth"]:
        raise click.UsageError("--label-map is for the true emotions that --truth names. Give --truth COLUMN, too.")
    if options["transcript"] is not None:
        _check_transcript(options["transcript"], options["transcripts"], options["cut"])
    if options["output"]:
        check_result_path(options["output"])
        if options["output"].absolute() in [path.absolute() for path in inputs]:
            raise click.UsageError(f"{options['output']} is an input. Give another --output.")
    found = find_items(inputs, transcript=options["transcript"], truth=options["truth"])
    for note in found.notes:
        say(common, f"note: {note}")
    model = find_model(name or chain_run(), common.runs, numbers, options["revision"])
    truths = _truths(options["label_map"], found.items, model.labels)
    recognizer = EmotionRecognizer(
        model, device=common.device, transcripts=options["transcripts"], asr_model=options["asr_model"],
        asr_revision=options["asr_revision"],
    )  # fmt: skip
    job = _Job(common, recognizer, truths, found.problems)
    began = time.perf_counter()
    job.run(found.items, options["output"], options["cut"], options["explanations"])
    if job.explained:
        say(common, f"Wrote explanations of {_count(job.explained, 'utterance')} to {options['explanations']}.")
    job.show(options["output"], time.perf_counter() - began)
    if job.problems:
        click.get_current_context().exit(1)


def _check_transcript(transcript: str, source: str | None, cut: str) -> None:
    """Refuse options with which a given transcript would not be read."""
    if not transcript.strip():
        raise click.UsageError("--transcript is empty. For a recording without words, use --transcripts none.")
    if source in (ASR, NONE):
        raise click.UsageError(f"--transcript gives a transcript, and --transcripts {source} does not read it.")
    if cut == "always":
        raise click.UsageError("--transcript is that of one utterance, and --cut always makes several of them.")


def _truths(name: str | None, items: "Sequence[Item]", labels: Sequence[str]) -> dict[str, str | None]:
    """The class of each label that occurs as truth; None: the label map drops it. Unknown labels are left out."""
    from mmer_pipeline.corpora.labels import IDENTITY, identity_map, load_label_map

    occurring = {item.truth for item in items if item.truth is not None}
    label_map: LabelMap = identity_map(set(labels)) if name in (None, IDENTITY) else load_label_map(name)
    known = occurring & {*chain.from_iterable(label_map.classes.values()), *label_map.dropped}
    classes = {truth: label_map.class_of(truth) for truth in sorted(known)}
    return {truth: found for truth, found in classes.items() if found is None or found in labels}


@dataclass
class _Job:
    """Predicts all items, and keeps what is shown at the end."""

    common: Common
    recognizer: "EmotionRecognizer"
    truths: Mapping[str, str | None]
    problems: list[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    finished: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)  # of the recordings
    explained: int = 0  # utterances

    def run(self, items: "Sequence[Item]", output: Path | None, cut: str, explanations: Path | None) -> None:
        """Predict the items that a killed command has not finished, and write the results."""
        from mmer_pipeline.prediction.result_files import ResultFile, request_key

        if explanations is not None and not (self.recognizer.model.reads_text and self.recognizer.model.reads_speech):
            say(self.common, "note: this system does not combine words and sound, so there is nothing to explain.")
        self._report_unknown_truths(items)
        self.ids = {item.utterance_id for item in items}
        requests = {request_key(item): item for item in items}
        if output is None:
            self._predict(requests, cut, explanations, None)
        else:
            place = None if explanations is None else str(explanations)  # what is finished is not explained afterwards
            identity = self.recognizer.identity(cut=cut, truths=dict(self.truths), explanations=place)
            with ResultFile(output, self.recognizer.labels, identity) as file:
                self.finished, failed = file.done, file.failed
                left = {key: item for key, item in requests.items() if key not in self.finished}
                if len(left) < len(items):
                    say(self.common, f"Continuing: {len(items) - len(left)} of {len(items)} recordings are finished.")
                # What could not be used is tried again apart, so that the rest is classified together as before.
                for again in (True, False):
                    part = {key: item for key, item in left.items() if (key in failed) == again}
                    self._predict(part, cut, explanations, file)
                file.finish(list(requests))
        self.rows = [row for key in requests for row in self.finished.get(key, [])]

    def _predict(
        self, requests: "Mapping[str, Item]", cut: str, explanations: Path | None, file: "ResultFile | None"
    ) -> None:
        from mmer_pipeline.prediction.pipeline import predict_items
        from stages.progress import Stopped, StopRequest, Work

        items, window = list(requests.values()), dict[str, list[dict[str, Any]] | None]()
        with StopRequest() as stop, Work(self.common, "Predicting", unit="recordings") as work:
            outcomes = predict_items(self.recognizer, items, cut=cut, explain=explanations is not None)
            for number, (key, outcome) in enumerate(zip(requests, outcomes, strict=True), start=1):
                window[key] = None if outcome.problem else self._rows(outcome, explanations)
                if outcome.problem:
                    self.problems.append(outcome.problem)
                work.show(number, len(items))
                if not outcome.ends_window:
                    continue
                self.finished |= {done: rows for done, rows in window.items() if rows is not None}
                if file is not None:
                    file.add(window)
                window.clear()
                if stop.requested and number < len(items):
                    goes_on = "; the same command continues from there" if file is not None else ""
                    raise Stopped(f"Stopped. {number} of {len(items)} recordings are finished{goes_on}.")

    def _rows(self, outcome: "Outcome", explanations: Path | None) -> list[dict[str, Any]]:
        from mmer_pipeline.prediction.inputs import free_id
        from mmer_pipeline.prediction.result_files import rows_of

        truth = self.truths.get(outcome.item.truth) if outcome.item.truth is not None else None
        rows = rows_of(outcome.item, outcome.predictions, truth, self.recognizer.labels)
        for row, prediction in zip(rows, outcome.predictions, strict=True):
            if len(rows) > 1:  # a part of talk.wav, talk-0001, may be called like a recording talk-0001.wav
                row["utterance_id"] = free_id(row["utterance_id"], self.ids)
            if explanations is not None:
                self._explain(explanations, row["utterance_id"], outcome.item.path, prediction)
        return rows

    def _explain(self, directory: Path, utterance_id: str, recording: Path, prediction: "Prediction") -> None:
        from mmer_pipeline.audio import AudioError
        from mmer_pipeline.prediction.explanation_files import write_explanation

        try:
            self.explained += bool(write_explanation(directory, utterance_id, recording, prediction))
        except AudioError as error:
            self.problems.append(f"{utterance_id} is predicted, but not explained: {error}")

    def _report_unknown_truths(self, items: "Sequence[Item]") -> None:
        unknown = Counter(item.truth for item in items if item.truth is not None and item.truth not in self.truths)
        for truth, count in unknown.items():
            self.problems.append(
                f"The true emotion {truth!r} ({_count(count, 'recording')}) is not one of the model's classes "
                f"({', '.join(self.recognizer.labels)}) and is not scored. Map it with --label-map."
            )

    def show(self, output: Path | None, seconds: float) -> None:
        """Print the results, the scores and the problems."""
        from stages.prediction_table import print_rows, print_scores, scores_of

        problems = [problem.encode(errors="replace").decode() for problem in self.problems]  # of names in any bytes
        scores = scores_of(self.rows, self.recognizer.labels)
        self.common.result({"model": self.recognizer.model.name, "utterances": self.rows, "scores": scores,
                            "problems": problems})  # fmt: skip
        if self.common.tables:
            if output is None or len(self.rows) <= MOST_ROWS:
                print_rows(self.rows)
            if scores:
                print_scores(scores, self.recognizer.labels)
        silent = sum(row["transcript_source"] == "asr" and not row["transcript"] for row in self.rows)
        if silent:
            say(self.common, f"The ASR model heard no words in {_count(silent, 'utterance')}.")
        wrote = f"; wrote {output}" if output else ""
        say(self.common, f"{_count(len(self.rows), 'utterance')} in {seconds:.1f} s{wrote}")
        for problem in problems:
            click.echo(f"Error: {problem}", err=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
