"""The report on ten systems with three seeds each at IEMOCAP's size: all pairs, both claims, tables, page and plots."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import growth_data, growth_stages
from benchmarks.growth_workspace import Workspace
from benchmarks.measure import Bench, Figure
from mmer_pipeline.corpora.manifest import read_manifest
from mmer_pipeline.systems.registry import settings_for

UTTERANCES, QUICK_UTTERANCES = 5531, 400
SYSTEMS, QUICK_SYSTEMS = 10, 2
SEEDS = (1, 2, 3)
TARGET_SECONDS = 60.0


def figures(bench: Bench) -> Iterator[Figure]:
    """Invent evaluated runs; read, compare and write them once."""
    from mmer_pipeline.report import report_page, report_plots  # noqa: F401  # not a part of the time
    from mmer_pipeline.report.build_report import make_report
    from mmer_pipeline.report.write_report import write_report

    utterances, systems = bench.count(UTTERANCES, QUICK_UTTERANCES), bench.count(SYSTEMS, QUICK_SYSTEMS)
    workspace = Workspace(bench.directory / "report")
    runs = write_runs(workspace, utterances, systems)
    began, began_cpu = time.perf_counter(), time.process_time()
    report = make_report(runs)
    compared = time.perf_counter() - began
    write_report(report, workspace.directory / "report")
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    yield Figure(
        "report of all pairs", f"{systems} systems × {len(SEEDS)} seeds × {utterances:,} utterances", seconds, "s",
        target=f"under {TARGET_SECONDS:.0f} s", met=seconds < TARGET_SECONDS,
        note=f"{len(report.pairs)} pairs; {compared:.1f} s without writing it; {cpu:.1f} s of processor time",
    )  # fmt: skip


def write_runs(workspace: Workspace, utterances: int, systems: int) -> Sequence[Path]:
    """Write a corpus and evaluated runs of systems that differ in α, one fold per session; return the runs."""
    growth_data.write_corpus(workspace, utterances)
    growth_stages.prepare(workspace)()
    manifest = read_manifest(workspace.manifest)
    sessions = sorted({utterance.session for utterance in manifest.utterances})
    runs = []
    for number in range(1, systems + 1):
        for seed in SEEDS:
            runs.append(workspace.runs / (f"system{number}" if seed == 1 else f"system{number}-seed{seed}"))
            for fold, session in enumerate(sessions, start=1):
                settings = settings_for("mmer", fold=fold, seed=seed, alpha=number / 100, epochs=growth_data.EPOCHS)
                positions = [i for i, utterance in enumerate(manifest.utterances) if utterance.session == session]
                growth_data.write_fold(runs[-1], settings, manifest, positions, sessions, 0.6 + number / 100)
    return runs
