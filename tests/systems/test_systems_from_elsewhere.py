"""Systems from files and from other packages: they are trained as the built-in ones, and found or refused by name."""

import shutil
import sys
from dataclasses import asdict
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from helpers.pipeline import train

from mmer_pipeline import plugins
from mmer_pipeline.errors import UserError
from mmer_pipeline.systems.catalogue import SYSTEMS
from mmer_pipeline.systems.registry import (
    ENTRY_POINTS,
    System,
    describe_system,
    find_system,
    settings_for,
    split_name,
    system_names,
)
from mmer_pipeline.systems.titles import title
from mmer_pipeline.training.evaluation import evaluate_fold

RUN = Path("runs/mmer")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "last_frame.py"


@pytest.fixture
def settings_of(tiny_speech):
    def make(system):
        return settings_for(system, fold=1, epochs=1, batch_size=8, learning_rate=1e-3, speech_encoder=str(tiny_speech))

    return make


def test_the_documented_system_from_a_file_is_trained_and_evaluated(corpus, settings_of):
    settings = settings_of(f"{EXAMPLE}:last-frame")
    assert train(settings, corpus)
    evaluation, _ = evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    assert evaluation["metrics"]["utterances"] == 8
    assert title(asdict(settings)) == "Last frame"
    assert split_name(f"{EXAMPLE}:last-frame:epochs=3") == (f"{EXAMPLE}:last-frame", ["epochs=3"])


def test_a_system_from_a_file_is_known_by_its_name_and_content_wherever_it_is(corpus, settings_of):
    for folder in ("a", "b"):
        Path(folder).mkdir()
        shutil.copy(EXAMPLE, f"{folder}/mine.py")
    assert train(settings_of("a/mine.py:last-frame"), corpus)
    assert not train(settings_of("b/mine.py:last-frame"), corpus)
    with Path("b/mine.py").open("a") as file:
        file.write("CHANGED = True\n")
    with pytest.raises(UserError, match=r"mine\.py: edited since"):
        train(settings_of("b/mine.py:last-frame"), corpus)
    Path("a/mine.py").unlink()
    plugins._module.cache_clear()
    assert title(asdict(settings_of("b/mine.py:last-frame"))) == "Last frame"
    assert describe_system("a/mine.py:last-frame").title == "last-frame"  # a report goes on without the file
    plugins._module.cache_clear()


@pytest.mark.parametrize("annotation", [": SpeechEncoder", ": 'SpeechEncoder'", ""])
def test_a_saved_model_is_loaded_however_its_constructor_is_annotated(corpus, settings_of, annotation):
    Path("mine.py").write_text(EXAMPLE.read_text().replace("speech: SpeechEncoder, *", f"speech{annotation}, *"))
    plugins._module.cache_clear()
    assert train(settings_of(f"{Path.cwd()}/mine.py:last-frame"), corpus)
    evaluation, _ = evaluate_fold(RUN, 1, cache=Path("cache"), device="cpu")
    assert evaluation["metrics"]["utterances"] == 8


@pytest.mark.parametrize("content", ["import nothing_like_it", "def (", "SYSTEMS = 1 / 0"])
def test_a_file_that_cannot_be_loaded_is_one_message(content):
    Path("soundfile.py").write_text(content)  # named like a library, which it must not replace
    with pytest.raises(UserError, match=r"soundfile\.py cannot be loaded: \w+Error: "):
        find_system("soundfile.py:mine")
    assert "soundfile" not in sys.modules or not sys.modules["soundfile"].__file__.startswith(str(Path.cwd()))


def test_a_system_that_another_package_registers_is_found(monkeypatch):
    entry = EntryPoint("of-a-package", "mmer_pipeline.systems.registry:SYSTEMS", ENTRY_POINTS)
    monkeypatch.setattr(EntryPoint, "load", lambda _: System("some.module:Class", "Of a package", ("text",)))
    monkeypatch.setattr(
        plugins,
        "entry_points",
        lambda group, name=None: (entry,) * (group == entry.group and name in (None, entry.name)),
    )
    assert find_system("of-a-package").title == "Of a package"
    assert system_names() == [*SYSTEMS, "of-a-package"]
    monkeypatch.setattr(EntryPoint, "load", lambda _: {}["gone"])
    with pytest.raises(UserError, match=r"'of-a-package' cannot be loaded from mmer_pipeline.*: KeyError: 'gone'"):
        find_system("of-a-package")
    assert describe_system("of-a-package").title == "of-a-package"  # a report goes on without the package
    monkeypatch.setattr(EntryPoint, "load", lambda _: "no system")
    with pytest.raises(UserError, match=r"'of-a-package': expected .*System, found str"):
        find_system("of-a-package")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mmre", r"no system 'mmre'\. Available systems: mmer, cai, wav2vec2, .*roberta, .*; from a file"),
        ("gone.py:x", "There is no file .*gone.py"),
        ("~nobody-of-this-name/gone.py:x", "There is no file .*gone.py"),
        ("a" * 5000 + ".py:x", "There is no file .*aaa"),
        ("empty.py:x", "has no dictionary SYSTEMS"),
        (f"{EXAMPLE}:first-frame", "has no entry 'first-frame'"),
    ],
)
def test_a_system_that_is_not_there_is_named_with_those_that_are(name, said):
    Path("empty.py").touch()
    with pytest.raises(UserError, match=said):
        find_system(name)
