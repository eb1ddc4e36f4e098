"""The fuse command: combine the predictions of several runs.

Reads `<runs>/<run>/fold-*/{settings.json,metrics.jsonl,evaluation.json,predictions.csv}` of each run, and with a
validation part their models, the manifest and the features. Writes fusion.json and predictions.csv to `<runs>/<name>/`.
"""

import shlex
from dataclasses import asdict

import click

from stages.setting_options import TakesTheRest
from stages.shared_options import Common, check_run_name, common_options, say, suggest


def _numbers(_context: click.Context, _parameter: click.Parameter, value: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in value.split(",")) if value else ()
    except ValueError:
        raise click.BadParameter(
            f"expected numbers separated by commas, such as 1,0.6, found {value[:50]!r}."
        ) from None


@click.command(cls=TakesTheRest)
@click.argument("names", nargs=-1, required=True, metavar="RUN RUN [RUN …]", callback=check_run_name)
@click.option("--run", "run_name", required=True, metavar="NAME", callback=check_run_name,
              help="Name of the fusion's directory in --runs-dir.")  # fmt: skip
@click.option("--weights", default="", metavar="W,W[,W …]", callback=_numbers,
              help="Weight of each run, in their order; only their ratios count.")  # fmt: skip
@common_options
def fuse(common: Common, names: tuple[str, ...], run_name: str, weights: tuple[float, ...]) -> None:
    """Combine the predictions of several runs (late fusion).

    The class probabilities of each fold's models are averaged. Without --weights, if all runs have the same validation
    part, the weights are those with the smallest cross-entropy on it; otherwise they are equal. The report shows the
    fusion as a system.
    """
    from mmer_pipeline.fusion import make_fusion
    from mmer_pipeline.scoring.metrics import HEADLINE, rates
    from stages.progress import quiet_libraries

    quiet_libraries()
    runs, target = [common.runs / name for name in names], common.runs / run_name
    found, computed = make_fusion(runs, target, cache=common.cache, device=common.device, given=weights)
    if not computed:
        say(common, f"{target} is up to date.")
    scores = {name: rates(found.rows.truth, found.rows.predicted, found.labels)[name] for name in HEADLINE}
    if common.tables:
        click.echo(f"{found.fused.title}: {len(found.held_outs)} folds, {found.fused.described}.")
        click.echo(f"  All folds together, in percent: WA {100 * scores['wa']:.2f}  UA {100 * scores['ua']:.2f}")
    common.result({"run": str(target), "computed": computed, **asdict(found.fused), "metrics": scores})
    suggest(common, f"report --run {shlex.quote(run_name)}")
