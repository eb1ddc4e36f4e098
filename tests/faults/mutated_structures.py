"""Mutated JSON, YAML, Parquet and TOML: values of other types, missing and new entries, deep and long ones."""

import json
import math
import tomllib
import unicodedata
import warnings
from pathlib import Path
from random import Random
from typing import Any

import click
import pyarrow as arrow
import yaml

from faults import input_corpora as corpora
from faults.input_corpora import FORMS, ROWS, json_lines, lhotse_entries, metadata_entries
from faults.mutated_corpora import attempt, facts, judged, lay_out
from faults.mutated_values import TEXTS, any_value, mutated_bytes, replace_file, replace_somewhere
from mmer_pipeline.corpora.labels import load_label_map
from mmer_pipeline.corpora.manifest import read_manifest


def run_json(random: Random, directory: Path) -> str:
    """Change a part of an object of lhotse, of an audiofolder or beside a manifest."""
    form = random.choice(("lhotse", "cuts", "jsonl", "manifest"))
    files = dict(FORMS[form][1](ROWS))
    if form == "manifest":
        return _manifest_facts(files, random, directory)
    name = "supervisions.jsonl" if form == "lhotse" else next(iter(files))
    entries = [json.loads(line) for line in files[name].splitlines()]
    if form == "lhotse" and random.random() < 0.4:
        name, entries = "recordings.jsonl", lhotse_entries(ROWS)[0]
        del files["recordings.jsonl.gz"]
    number = random.randrange(len(entries))
    entries[number] = replace_somewhere(entries[number], random)
    lines = json_lines(entries).splitlines()
    if random.random() < 0.1:  # deeper than Python's own stack
        lines[number] = b'{"id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    files[name] = b"\n".join(lines)
    return judged(form, lay_out(files, directory), directory)


def _manifest_facts(files: corpora.Files, random: Random, directory: Path) -> str:
    root = lay_out(files, directory)
    before = read_manifest(root / "manifest.csv")
    changed = replace_somewhere(json.loads(files["manifest.json"]), random)
    (root / "manifest.json").write_text(json.dumps(changed), encoding="utf-8")
    now = attempt(lambda: read_manifest(root / "manifest.csv"))
    if now is None:
        return "refused"
    assert [facts(u) for u in now.utterances] == [facts(u) for u in before.utterances if u in now.utterances]
    for utterance in now.utterances:
        attempt(lambda utterance=utterance: now.audio_path(utterance))  # type: ignore[misc]
        assert now.label_map.class_of(utterance.emotion) in changed["label_map"]["classes"]
    return "same"


def run_yaml(random: Random, directory: Path) -> str:
    """Change a part of the header of an audformat database, or write one that a safe loader must not follow."""
    files = dict(FORMS["audformat"][1](ROWS))
    changed = replace_somewhere(corpora.AUDFORMAT, random)
    try:
        text = yaml.safe_dump(changed, allow_unicode=random.random() < 0.5)
    except (yaml.YAMLError, UnicodeEncodeError):
        text = repr(changed)
    if len(text) > 20_000:  # read in seconds
        text = yaml.safe_dump(corpora.AUDFORMAT)
    kind = random.random()
    if kind < 0.1:
        tags = ("object/apply:os.system ['touch CANARY']", "name:os.system", "object/new:os.system ['touch CANARY']")
        text += f"\nx: !!python/{random.choice(tags)}\n"
    elif kind < 0.15:
        text += "\na: &a [x, x, x, x]\n" + "".join(
            f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'}, *a]\n" for n in range(30)
        )
    elif kind < 0.2:
        text += f"\nx: {'[' * 3000}\n"
    elif kind < 0.3:
        text += (
            f"\nx: {random.choice(('2001-99-99', '0x', '1e999', '!!int x', '!!timestamp 1', '!!binary é', '*none'))}\n"
        )
    files["db.yaml"] = text.encode(errors="surrogatepass")
    return judged("audformat", lay_out(files, directory), directory)


def run_parquet(random: Random, directory: Path) -> str:
    """Change types and rows of a Parquet file, or the description that `datasets` leaves in it."""
    form, entries = "parquet", metadata_entries(ROWS)
    name, files = "metadata.parquet", {}
    if random.random() < 0.4:  # with recordings in it
        name, form = "train.parquet", "unpacked"
        for n, entry in enumerate(entries):
            del entry["file_name"]
            path = random.choice((f"{n}.wav", *TEXTS)) if random.random() < 0.3 else f"{n}.wav"
            entry["audio"] = {"bytes": corpora.sound(n), "path": path}
    value = any_value(random)
    column = random.choice(list(entries[0]))
    changed = (
        [{**entry, column: value} for entry in entries] if random.random() < 0.3 else replace_somewhere(entries, random)
    )
    features: Any = {"info": {"features": {"emotion": {"_type": "ClassLabel", "names": ["angry", "sad"]}}}}
    if random.random() < 0.3:
        features = replace_somewhere(features, random)
    metadata = json.dumps(features).encode() if random.random() < 0.9 else random.randbytes(9)
    try:
        files[name] = corpora.as_parquet(changed, {b"huggingface": metadata})
    except (arrow.ArrowException, TypeError, AttributeError, UnicodeEncodeError, OverflowError, ValueError, KeyError):
        return "refused"  # by the writer
    if random.random() < 0.2:
        files[name] = mutated_bytes(files[name], random)
    return judged("huggingface" if form == "unpacked" else form, lay_out(files, directory), directory)


def toml_value(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "nan" if math.isnan(value) else str(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml_value(str(key))} = {toml_value(entry)}" for key, entry in value.items()) + "}"
    return json.dumps("none" if value is None else value).replace("\\ud", "\\ue").replace("\x7f", "")


def run_label_map(random: Random, directory: Path) -> str:
    """Change a part of a label map; what is read is what another reader of TOML says."""
    labels: Any = {"drop": ["x"], "classes": {"happy": ["joy", "fun"], "sad": ["sad"]}}
    changed = replace_somewhere(labels, random)
    text = "".join(
        f"{toml_value(str(key))} = {toml_value(value)}\n"
        for key, value in (changed if isinstance(changed, dict) else labels).items()
    )
    kind = random.random()
    if kind < 0.1:
        text += f"drop2 = {'[' * 5000}{']' * 5000}\n"
    elif kind < 0.2:
        text += random.choice(('drop = ["y"]\n', "drop = 1\n", "[classes]\n", "x = 1e999\n", f"x = {'9' * 5000}\n"))
    path = directory / "labels.toml"
    content = text.encode()
    path.write_bytes(mutated_bytes(content, random) if kind > 0.85 else content)
    if 0.8 < kind < 0.85:
        replace_file(path, directory / "labels.toml2", random)
    found = attempt(lambda: load_label_map(str(path)))
    if found is None:
        return "refused"
    written = tomllib.loads(path.read_text(encoding="utf-8"))
    plain = {_nfc(name): [_nfc(label) for label in group] for name, group in written["classes"].items()}
    assert {name: list(group) for name, group in found.classes.items()} == plain
    assert list(found.dropped) == [_nfc(label) for label in written.get("drop", [])]
    return "same"


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def run_settings(random: Random, directory: Path) -> str:
    """Give an option a value in mmer.toml: refused, or what the same value on the command line gives."""
    from stages.cli import main
    from stages.settings_file import load_config

    name = random.choice(("train", "cv", "prepare", "predict", "extract", "report"))
    command = main.commands[name]
    options = [
        p
        for p in command.params
        if isinstance(p, click.Option) and p.name not in ("config", "help", "preset", "recipe")
    ]
    option = random.choice(options)
    kind = random.random()
    text = _settings(name, option, kind, random)
    path = directory / "mmer.toml"
    path.write_bytes(mutated_bytes(text.encode(), random) if kind > 0.9 else text.encode())
    if 0.85 < kind < 0.9:
        replace_file(path, directory / "other.toml", random)
    context = click.Context(main)
    try:
        load_config(context, main.params[0], path)
    except click.BadParameter as error:
        message = error.format_message()
    else:
        message = ""
    if message:
        assert "mmer.toml" in message
        assert len(message) < 5_000
        return "refused"
    given = context.default_map.get(name, {}) if context.default_map else {}
    untypable = option.is_flag and given.get(option.name) is False and not option.secondary_opts
    if untypable or option.name not in given or set(given) != {option.name} or kind > 0.9:
        return "same"
    required = ["iemocap", "--root", "x"] if name == "prepare" else ["a.wav"] if name == "predict" else []
    from_file = _parameters(command, required, context)
    typed = given[option.name]
    if option.is_flag:
        words = [option.opts[0] if typed else option.secondary_opts[0]] if typed or option.secondary_opts else []
    else:
        words = [word for one in (typed if option.multiple else [typed]) for word in (option.opts[0], one)]
    if any(not isinstance(word, str) for word in words):
        return "same"  # a list, for an option whose list has commas on the command line
    from_words = _parameters(command, [*words, *required], click.Context(main))
    assert from_file == from_words, (text[:200], from_file, from_words)
    return "same" if from_file is not None else "refused"


def _settings(name: str, option: click.Option, kind: float, random: Random) -> str:
    """The text of a mmer.toml that gives an option of a command a value."""
    value = random.choice(
        (any_value(random), *random.sample((1, 2, 0.5, True, "1", "none", 2.7, -3, [1, 2], ["a"], 1e-5), 4))
    )
    key = random.choice(option.opts).removeprefix("--")
    text = f"[{name}]\n{key} = {toml_value(value)}\n"
    if kind < 0.1:
        text = random.choice(
            (
                f"{text}{text}",
                f"{text}{key} = 1\n",
                f"x = {'[' * 3000}\n",
                f"{key} = {'9' * 5000}\n",
                f"[{key}]\na=1\n",
                "train = 5\n",
            )
        )
    return text


def _parameters(command: click.Command, words: list[str], parent: click.Context) -> str | None:
    """The values of a command's options, as text since NaN is not equal to itself; None if it refuses them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context = command.make_context(command.name, list(words), parent=parent)
    except (click.UsageError, click.exceptions.Exit):
        return None
    return repr(sorted(context.params.items()))
