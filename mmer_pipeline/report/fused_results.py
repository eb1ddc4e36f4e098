"""Read fusions of runs for a report, in which they are systems like any other."""

from collections.abc import Sequence
from pathlib import Path

from mmer_pipeline import paths, sealed_json
from mmer_pipeline.errors import UserError
from mmer_pipeline.fusion import read_fusion
from mmer_pipeline.report.report_content import Hole
from mmer_pipeline.report.run_results import SystemResults, held_out_of


def apart(runs: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Tell trained runs from fusions; the members of the fusions are added to the runs, if they are there."""
    fusions = [run for run in runs if paths.fusion(run).is_file()]
    trained = [run for run in runs if run not in fusions]
    for fusion in fusions:
        trained += [run for run in _members(fusion) if run not in trained and run.is_dir()]
    return trained, fusions


def _members(fusion: Path) -> list[Path]:
    """The runs that a fusion names; none if it is damaged, which is said where it is read."""
    try:
        names = sealed_json.read(paths.fusion(fusion), "mmer-pipe fuse")["members"]
        return [fusion.parent / name for name in names]
    except (UserError, KeyError, TypeError):
        return []


def read_fusions(fusions: Sequence[Path], corpus: str, labels: Sequence[str]) -> tuple[list[SystemResults], list[Hole]]:
    """Read the fusions of a report whose trained runs have this corpus and these classes.

    Returns the systems, what is missing: out of date, damaged, of other classes.
    """
    systems, holes = [], []
    for path in fusions:
        try:
            found = read_fusion(path)
        except UserError as error:
            holes.append(Hole(path.name, None, str(error)))
            continue
        theirs = found.record.facts.get("corpus"), list(found.labels)
        if theirs != (corpus, list(labels)):
            holes.append(Hole(path.name, None, f"its corpus or classes are not those of the other runs: {corpus}"))
            continue
        held_out = held_out_of(found.rows, found.record)
        systems.append(SystemResults(path.name, (), None, found.held_outs, held_out, fused=found.fused))
    return systems, holes
