"""pack: make a directory of a trained model that one can use elsewhere and hand on.

Reads `<runs>/<run>/fold-*/` and the text encoder. Writes the packed model: weights, mmer_model.json, README.md.
"""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import FINAL, SELECTIONS
from stages.setting_options import LeadingArgument
from stages.shared_options import DIRECTORY, Common, check_run_name, common_options, say, suggest
from stages.train import FoldNumber

if TYPE_CHECKING:
    from mmer_pipeline.prediction.packing import CrossValidation
    from mmer_pipeline.prediction.trained_model import TrainedModel


@click.command(cls=LeadingArgument)
@click.argument("run", callback=check_run_name)
@click.option("--output", "-o", type=DIRECTORY, help="Directory of the packed model.  [RUN-model]")
@click.option("--fold", "numbers", type=FoldNumber(), multiple=True, metavar="K|none",
              help="Fold whose model to pack; several form an ensemble; none: the model trained on everything.  [none "
                   "if it is trained, otherwise all folds]")  # fmt: skip
@click.option("--selection", type=click.Choice(SELECTIONS), default=FINAL, show_default=True,
              help="Epoch of the packed model: the last one, or the best one on the validation part.")  # fmt: skip
@click.option("--include-encoders", is_flag=True,
              help="Copy the text encoder, too, if it is named by an id. A local one is always copied.")  # fmt: skip
@click.option("--push-to-hub", "repo_id", metavar="USER/NAME", help="Upload the packed model to the Hugging Face hub.")
@common_options
def pack(
    common: Common, run: str, output: Path | None, numbers: tuple[int, ...], selection: str, include_encoders: bool,
    repo_id: str | None,
) -> None:  # fmt: skip
    """Pack a trained model for use.

    RUN is the name of a run in --runs-dir. The directory contains everything that `predict` needs, and a model card
    with the scores of the cross-validation, if the run's folds have been evaluated.
    """
    from mmer_pipeline.prediction.packing import pack as pack_model
    from mmer_pipeline.prediction.packing import push
    from mmer_pipeline.prediction.trained_model import model_of_run, read_packed_model
    from stages.progress import quiet_libraries

    quiet_libraries()
    if not (common.runs / run).is_dir():
        there = sorted(path.parent.name for path in common.runs.glob("*/fold-*/") if path.is_dir())
        raise UserError(f"There is no run {run} in {common.runs}. Runs: {', '.join(dict.fromkeys(there)) or 'none'}.")
    model = model_of_run(common.runs / run, numbers, selection)
    directory = output or Path(f"{run}-model")
    scores = _scores(common, run, model)
    pack_model(model, directory, cross_validation=scores, include_encoders=include_encoders)
    if scores is None:
        say(common, "No evaluation was found, so the model card has no scores.")
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    say(common, f"Packed {_members(model)} of {run}: {directory} ({size / 1e6:.1f} MB)")
    address = push(read_packed_model(directory), repo_id) if repo_id else None
    if address:
        say(common, f"Uploaded to {address}")
    common.result({"path": str(directory), "bytes": size, "members": len(model.members), "address": address})
    suggest(common, f"predict RECORDING --model {shlex.quote(str(directory))}")


def _members(model: "TrainedModel") -> str:
    if len(model.members) > 1:
        return f"an ensemble of {len(model.members)} folds"
    (member,) = model.members
    return f"fold {member.fold}" if member.fold else "the model trained on everything"


def _scores(common: Common, run: str, model: "TrainedModel") -> "CrossValidation | None":
    """The scores for the model card: of the packed fold if it is a single one, otherwise of all evaluated folds."""
    from mmer_pipeline.prediction.card_facts import Score
    from mmer_pipeline.prediction.packing import CrossValidation
    from mmer_pipeline.report.build_report import make_report

    try:
        (system,) = make_report([common.runs / run], []).systems
    except UserError:
        return None
    chosen = system.selections.known.get(model.selection)
    if chosen is None:  # the model trained on everything has a validation part, but the folds have not
        return None
    metrics = {"wa": ("WA", "accuracy"), "ua": ("UA", "recall")}
    only = model.members[0].fold if len(model.members) == 1 else 0
    if only:
        fold = next((fold for fold in chosen.folds if fold.fold == only), None)
        if fold is None:
            return None
        values = {key: float(getattr(fold, key)) for key in metrics}
        scores: Any = tuple(Score(*metrics[key], value, None, value, None, None) for key, value in values.items())
        return CrossValidation(scores, "this model", (fold.held_out,), (model.settings.seed,))
    summaries = [(metrics[key], chosen.summary[key]) for key in metrics]
    return CrossValidation(
        tuple(Score(*names, m.mean, m.sd, m.pooled, *(m.interval_95 or (None, None))) for names, m in summaries),
        "folds",
        tuple(fold.held_out for fold in chosen.folds),
        (model.settings.seed,),
    )
