"""Code in a run's identity: an edited model is trained again, a reworded or released one is not."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.command_line import invoke, succeed
from helpers.other_corpora import write_other
from helpers.pipeline import metrics, quick_settings, train
from helpers.run_example import edit_json

from mmer_pipeline import paths
from mmer_pipeline.errors import OtherSettings, UserError
from mmer_pipeline.runs import RunRecord
from mmer_pipeline.settings import Settings
from mmer_pipeline.systems.registry import settings_for
from mmer_pipeline.training import code_identity
from mmer_pipeline.training.code_identity import Module, code_of, current_modules, record_changes, released_modules
from mmer_pipeline.training.evaluation import check_code, evaluate_fold
from mmer_pipeline.training.other_corpus import evaluate_on

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "last_frame.py"
RUN = Path("runs/mmer")
FOLD = paths.fold(RUN, 1)

settings = pytest.fixture(quick_settings)


@pytest.fixture
def edit(monkeypatch, tmp_path):
    """A function that edits a module's source, as it is digested; the code that runs stays as it is."""
    find = code_identity._path

    def replace_in(module, old, new):
        source = find(f"mmer_pipeline.{module}").read_text()
        assert old in source
        edited = tmp_path / f"{module}.py"
        edited.write_text(source.replace(old, new))
        monkeypatch.setattr(
            code_identity, "_path", lambda name: edited if name == f"mmer_pipeline.{module}" else find(name)
        )
        code_identity._module.cache_clear()

    yield replace_in
    code_identity._module.cache_clear()


def edit_pooling(edit):
    edit("systems.mmer", "pool = self.speech_attention or masked_mean", "pool = lambda A, _: A.amax(dim=1)")


def digest(source):
    return Module.parse(source.encode(), "").digest


def test_comments_docstrings_and_formatting_change_no_digest():
    plain = "def f(a: int) -> str:\n    return f'{a}' + 'b'\n"
    worded = (
        '"""A module."""\n\n\ndef f(\n    a: int,  # a number\n) -> str:\n    """Say b."""\n    return f"{a}" + "b"\n'
    )
    assert digest(plain) == digest(worded)
    for other in (plain.replace("+", "*"), plain.replace("'b'", "'c'"), plain.replace("{a}", "{a!r}"), plain + "a = 1"):
        assert digest(other) != digest(plain)


def test_every_module_is_entered_as_it_is():
    """After an edit: enter it, with --same-results only if `test_same_results.py` passes."""
    released = {name: entry.code for name, entry in released_modules().items()}
    assert current_modules() == released, (
        "run: python -m mmer_pipeline.training.code_identity --same-results (or --new)"
    )


def test_code_as_released_is_not_in_the_identity():
    """Otherwise a release would train everything again."""
    assert [code_of(system).inputs() for system in ("mmer", "cai", "wav2vec2", "roberta")] == [{}] * 4


def test_a_system_is_concerned_by_its_own_modules():
    mmer, roberta = (code_of(system).digests.keys() for system in ("mmer", "roberta"))
    assert {"systems.mmer", "systems.base", "encoders.speech", "training.step", "corpora.folds"} <= mmer
    assert mmer - roberta == {"systems.mmer"}
    assert not {"systems.registry", "encoders.asr", "training.checkpoint"} & (mmer | roberta)


def test_an_edited_model_is_refused_and_trained_again_with_restart(corpus, settings, edit):
    assert train(settings, corpus)
    evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    edit_pooling(edit)
    with pytest.raises(OtherSettings, match=r"code of systems\.mmer: original → version \w+\n(.|\n)*--same-results"):
        train(settings, corpus)
    with pytest.raises(UserError, match=r"Changed since .*fold-1 was trained: code of systems\.mmer(.|\n)*--restart"):
        evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")  # not the old score
    with pytest.raises(UserError, match=r"Changed since .*fold-1 was trained: code of systems\.mmer"):
        evaluate_on(RUN, 1, write_other(Path("other")), cache=Path("cache"), device="cpu")
    assert train(settings, corpus, restart=True)
    assert not train(settings, corpus)
    assert evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")[1]


def test_an_edit_of_one_system_leaves_the_runs_of_others(corpus, settings, edit):
    places = {name: getattr(settings, name) for name in ("text_encoder", "speech_encoder", "epochs", "learning_rate")}
    roberta = settings_for("roberta", fold=1, **places)
    assert train(roberta, corpus)
    edit_pooling(edit)
    assert not train(roberta, corpus)


def test_an_interrupted_fold_is_not_continued_with_edited_code(corpus, settings, edit):
    assert train(settings, corpus, keep_state=True)
    FOLD.weights.unlink()
    edit_pooling(edit)
    with pytest.raises(OtherSettings, match="code of systems"):
        train(settings, corpus)


@pytest.mark.slow
def test_cv_trains_again_exactly_the_folds_of_other_code(corpus, encoders, edit):
    from distributed import LocalCluster

    cluster = {"n_workers": 1, "threads_per_worker": 2, "host": "127.0.0.1", "dashboard_address": ":0"}
    with LocalCluster(processes=False, protocol="tcp://", **cluster) as workers:  # in this process, as `edit` is
        command = ["--json", "cv", "--systems", "mmer,roberta", *encoders, "--epochs", "1", "--alpha", "0.01",
                   "--device", "cpu", "--scheduler", workers.scheduler_address]  # fmt: skip
        succeed(*command, "--fold", 1)
        edit_pooling(edit)
        refused = invoke(*command)
        assert refused.exit_code == 1
        assert refused.stderr.count("code of systems.mmer") == 1
        assert "already complete" not in refused.stderr
        assert states(refused) == {("mmer", 1): "failed", ("mmer", 2): "done",
                                   ("roberta", 1): "was done", ("roberta", 2): "done"}  # fmt: skip
        again = succeed(*command, "--restart")
        assert states(again) == {("mmer", 1): "done", ("mmer", 2): "was done",
                                 ("roberta", 1): "was done", ("roberta", 2): "was done"}  # fmt: skip


def states(result):
    return {(job["run"], job["fold"]): job["state"] for job in json.loads(result.stdout)["jobs"]}


@pytest.fixture
def entries(monkeypatch, tmp_path):
    """A copy of code_identity.json, which a test may change."""
    path = Path(shutil.copy(code_identity.RELEASED, tmp_path / "entries.json"))
    monkeypatch.setattr(code_identity, "RELEASED", path)
    yield path
    released_modules.cache_clear()


def enter(**results):
    released_modules.cache_clear()
    changed = record_changes(**results)
    released_modules.cache_clear()
    return changed


def test_an_edit_with_the_same_results_leaves_the_identity_alone(edit, entries):
    edit_pooling(edit)
    assert code_of("mmer").inputs().keys() == {"code of systems.mmer"}
    assert enter(same_results=True) == ["systems.mmer"]
    assert code_of("mmer").inputs() == {}
    assert enter(same_results=True) == []


def test_new_results_keep_their_name_through_later_edits_that_do_not_change_them(edit, entries):
    edit_pooling(edit)
    while_edited = code_of("mmer").inputs()  # of runs that were trained before the edit was entered
    assert enter(same_results=False) == ["systems.mmer"]
    assert code_of("mmer").inputs() == while_edited
    edit(
        "systems.mmer",
        "from mmer_pipeline.errors import UserError",
        "import math\nfrom mmer_pipeline.errors import UserError",
    )
    assert code_of("mmer").inputs() != while_edited
    enter(same_results=True)
    assert code_of("mmer").inputs() == while_edited


def forget_code(fold=FOLD):
    """Make a fold's record that of a version that recorded no code."""
    edit_json(fold.settings, lambda record: record["facts"].pop("code"))


def test_runs_of_versions_that_recorded_no_code_are_complete_until_an_edit(corpus, settings, edit):
    assert train(settings, corpus)
    forget_code()
    assert not train(settings, corpus)
    edit_pooling(edit)
    with pytest.raises(OtherSettings, match="code of systems"):
        train(settings, corpus)


def test_a_system_s_file_counts_without_its_comments_and_as_earlier_versions_counted_it(corpus, settings):
    source = EXAMPLE.read_text()
    mine = Path("mine.py")
    mine.write_text(source)
    own = replace(settings, system=f"{mine.absolute()}:last-frame", alpha=0.0)
    assert train(own, corpus)
    mine.write_text(f"# reworded\n{source}")
    assert not train(own, corpus)
    mine.write_text(f"{source}\nMORE = 1\n")
    with pytest.raises(OtherSettings, match=r"inputs:\n  mine\.py: edited since the run was trained\n"):
        train(own, corpus)
    with pytest.raises(UserError, match=r"Changed since runs/mmer/fold-1 was trained: mine\.py\. Train the fold again"):
        check_code(RunRecord.read(FOLD.settings, ""), RUN)
    mine.write_text(source)
    record = RunRecord.read(FOLD.settings, "")
    as_bytes = {"system_file": code_identity.digest_of_result(mine)}
    facts = {name: value for name, value in record.facts.items() if name != "code"}
    RunRecord(record.settings, record.inputs | as_bytes, facts).write(FOLD.settings)
    assert not train(own, corpus)


def test_the_modules_of_another_package_count_as_far_as_a_system_imports_them(tmp_path, monkeypatch):
    package = tmp_path / "their_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "model.py").write_text("from . import layers\nfrom mmer_pipeline.systems.mmer import MMER as Model\n")
    (package / "layers.py").write_text("WIDTH = 8\n")
    (package / "unused.py").write_text("WIDTH = 8\n")
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from mmer_pipeline.systems.registry import System\n"
        "SYSTEMS = {'theirs': System('their_package.model:Model', 'Theirs', ('speech', 'text'))}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = code_of(f"{mine}:theirs")
    own = {name for name in found.digests if name.startswith("their_package")}
    assert own == {"their_package", "their_package.model", "their_package.layers"}
    assert "systems.mmer" in found.digests
    assert {f"code of {name}" for name in own} | {"system_file"} == found.inputs().keys()
    sys.modules.pop("their_package", None)


def test_another_major_version_of_torch_makes_another_run(monkeypatch):
    version = code_identity.version
    monkeypatch.setattr(code_identity, "version", lambda name: "3.0.1" if name == "torch" else version(name))
    assert code_of("mmer").inputs() == {"torch version": "3"}


def test_a_fold_of_a_version_without_a_setting_is_resumed_and_evaluated_under_its_identity(
    corpus, settings, monkeypatch
):
    """A version with more settings computes another digest from the same record."""
    identity = Settings.identity
    with monkeypatch.context() as earlier:
        earlier.setattr(
            Settings, "identity", lambda self: {k: v for k, v in identity(self).items() if k != "bucket_batches"}
        )
        assert train(settings, corpus, keep_state=True)
    whole = metrics()
    FOLD.weights.unlink()
    record = RunRecord.read(FOLD.settings, "")
    assert record.identity != record.digest
    assert train(settings, corpus)
    assert metrics() == whole
    assert RunRecord.read(FOLD.settings, "").identity == record.identity
    assert evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")[1]
    assert not evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")[1]
    assert not train(settings, corpus)
