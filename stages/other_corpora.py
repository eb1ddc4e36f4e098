"""Testing on other corpora, as evaluate and cv do it. This module imports nothing heavy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError, first_few
from stages.extract import make_features
from stages.shared_options import Common, say

if TYPE_CHECKING:
    from distributed import Client

    from mmer_pipeline.corpora.manifest import Manifest
    from mmer_pipeline.settings import Settings


def evaluate_on_other(common: Common, run: Path, numbers: Sequence[int], path: Path) -> list[dict[str, Any]]:
    """Score trained models of a run, by default all, on another corpus; print and return their evaluations.

    Raises:
        UserError: as `training.other_corpus.evaluate_on`.
    """
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.runs import trained_models
    from mmer_pipeline.training.other_corpus import evaluate_on

    manifest = read_manifest(path)
    results = []
    for number in dict.fromkeys(numbers) or trained_models(run):
        evaluation, computed = evaluate_on(run, number, manifest, cache=common.cache, device=common.device)
        if not computed:
            say(common, f"{_model(number)} of {run} has already been evaluated on {manifest.corpus}; skipping it.")
        results.append(evaluation)
    if common.tables:
        _print_scores(manifest, results)
    for warning in _warnings(results):
        say(common, f"Warning: {warning}")
    return results


def _print_scores(manifest: "Manifest", results: Sequence[Mapping[str, Any]]) -> None:
    """Print WA and UA of each model, and their mean."""
    classes, labels = results[0]["classes"], results[0]["labels"]
    missing = [label for label in labels if label not in classes]
    click.echo(f"On {manifest.corpus}, {results[0]['metrics']['utterances']} utterances, in percent:")
    for evaluation in results:
        metrics = evaluation["metrics"]
        click.echo(f"  {_model(evaluation['fold'] or 0)}: WA {100 * metrics['wa']:.2f}  UA {100 * metrics['ua']:.2f}")
    if len(results) > 1:
        means = {name: sum(entry["metrics"][name] for entry in results) / len(results) for name in ("wa", "ua")}
        click.echo(f"  mean: WA {100 * means['wa']:.2f}  UA {100 * means['ua']:.2f}")
    line = f"UA is the mean recall of the corpus's classes: {', '.join(classes)}."
    if missing:
        line += f" The models also know {', '.join(missing)}, which the corpus lacks: predicting one is an error."
    click.echo(line)


def _warnings(results: Sequence[Mapping[str, Any]]) -> list[str]:
    shared = results[0]["shared_speakers"]
    if shared is None:
        return ["the training corpus no longer exists, so its overlap with this corpus was not checked."]
    if shared:
        return [
            f"{len(shared)} speakers have the same name in the training corpus ({first_few(shared)}). If they are the "
            "same people, this is not a test on other speakers."
        ]
    return []


def _model(number: int) -> str:
    return f"fold {number}" if number else "trained on everything"


def read_other_corpora(others: Sequence[Path], training: "Manifest") -> "list[Manifest]":
    """Read the manifests to test on, and check them against the corpus of training before anything is computed.

    Raises:
        UserError: a manifest's classes are not those of training, it has utterances of the training corpus, or two
            have the same name.
    """
    if not others:
        return []
    from mmer_pipeline.corpora.manifest import read_manifest
    from mmer_pipeline.training.other_corpus import check_classes, check_overlap

    found = [read_manifest(path.absolute()) for path in others]
    for manifest in found:
        check_classes(manifest, training.labels)
        check_overlap(manifest, training)
    names = [paths.encoder_slug(manifest.corpus) for manifest in found]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise UserError(
                f"--test-on: {found[names.index(name)].path} and {found[number].path} have the same name, "
                f"{found[number].corpus}. Give one of them another name: `mmer-pipe prepare … --name NAME`."
            )
    return found


def extract_other_corpora(
    common: Common,
    others: "Sequence[Manifest]",
    training: "Manifest",
    jobs: "Sequence[Settings]",
    scheduler: "Client",
    resources: Mapping[str, float],
) -> None:
    """Compute the missing features of other corpora, beside their manifests, and compare their recordings.

    Raises:
        Stopped: the user pressed Ctrl-C.
        UserError: features cannot be computed, or a corpus has recordings of the training corpus.
    """
    if not others:
        return
    from mmer_pipeline.features.required_features import requests_of
    from mmer_pipeline.training.other_corpus import check_recordings, settings_on

    distinct = list(dict.fromkeys(replace(settings_on(settings), fold=1, seed=1) for settings in jobs))
    requests = dict.fromkeys(request for settings in distinct for request in requests_of(settings))
    for manifest in others:
        say(common, f"Features of {manifest.corpus}, to test on:")
        for request in requests:
            make_features(replace(common, cache=manifest.path.parent), request, manifest, scheduler, resources)
        for settings in distinct:
            check_recordings(manifest, training, settings, common.cache)
