"""`--precision auto`: what the device computes in, and the same for all folds of a run."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.pipeline import quick_settings, train

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import Settings
from mmer_pipeline.training.mixed_precision import has_bf16, make_accelerator, precision_of_run

CPU = torch.device("cpu")
RUN, OTHER_SEED = Path("runs/mmer"), Path("runs/mmer-seed2")


@pytest.fixture
def bf16_cpu(monkeypatch):
    """A CPU with AMX, whatever this one is."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)


def begin(run, precision, fold=1):
    inputs = {"labels": ["a"], "manifest": "0"}
    RunRecord(Settings(fold=fold, precision=precision), inputs, {}).write(paths.fold(run, fold).settings)


def found(run=RUN, *, fold=1, asked="auto", restart=False):
    with precision_of_run(run, Settings(fold=fold, precision=asked), "cpu", restart=restart) as precision:
        return precision


def test_auto_is_bf16_where_the_cpu_computes_in_it(bf16_cpu, monkeypatch):
    assert make_accelerator("cpu", "auto")[1] == "bf16"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx512_core_vnni")  # then it would be emulated
    assert make_accelerator("cpu", "auto")[1] == "fp32"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_AMX")
    assert has_bf16(CPU)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not has_bf16(CPU)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert has_bf16(CPU)
    assert make_accelerator("cpu", "fp32")[1] == "fp32"


def test_a_fold_follows_the_folds_of_its_run_that_were_begun(bf16_cpu):
    assert found() == "auto"
    begin(OTHER_SEED, "bf16")
    assert found() == "bf16"
    begin(RUN, "fp32", fold=2)  # of the run itself
    assert found() == found(fold=2) == "fp32"
    assert found(fold=2, restart=True) == "bf16"
    assert found(OTHER_SEED) == "bf16"
    assert found(asked="tf32") == "tf32"
    paths.fold(RUN, 2).settings.write_text("{")
    assert found() == "bf16"


def test_a_run_in_bf16_is_not_continued_where_bf16_is_emulated():
    begin(RUN, "bf16")
    with pytest.raises(UserError, match="begun in bf16, which this device would have to emulate"):
        found()
    assert found(asked="bf16") == "bf16"


def test_a_fold_that_starts_waits_for_one_that_starts_on_another_machine(bf16_cpu):
    answers = []
    with precision_of_run(RUN, Settings(fold=1), "cpu", restart=False) as first:
        second = threading.Thread(target=lambda: answers.append(found(OTHER_SEED, fold=2)))
        second.start()
        begin(RUN, "fp32")  # as that machine computes
    second.join()
    assert (first, answers) == ("auto", ["fp32"])


def test_a_fold_that_an_earlier_version_began_in_float32_stays_in_it(corpus, tiny_text, tiny_speech, bf16_cpu):
    settings = replace(quick_settings(tiny_text, tiny_speech), epochs=1)
    assert train(replace(settings, precision="fp32"), corpus)
    assert not train(settings, corpus)
    assert train(replace(settings, fold=2), corpus)
    assert [RunRecord.read(paths.fold(RUN, fold).settings, "").settings.precision for fold in (1, 2)] == ["fp32"] * 2
    assert train(settings, corpus, run=Path("runs/another"))
    assert RunRecord.read(paths.fold(Path("runs/another"), 1).settings, "").settings.precision == "bf16"


def test_the_lock_of_a_fold_that_starts_is_free_while_it_trains(corpus, tiny_text, tiny_speech, monkeypatch):
    monkeypatch.setattr("mmer_pipeline.training.fold.Trainer", lambda *_: pytest.fail(found(fold=2)))
    with pytest.raises(pytest.fail.Exception, match="fp32"):
        train(quick_settings(tiny_text, tiny_speech), corpus)
