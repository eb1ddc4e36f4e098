"""The init command: write mmer.toml with the settings for this machine.

Encoders, directories and hyperparameters are then named once, for all commands.
"""

import json
from pathlib import Path

import click

from mmer_pipeline import paths
from mmer_pipeline.errors import UserError
from mmer_pipeline.presets import PRESETS
from mmer_pipeline.settings import DEFAULTS, OPTIONS
from stages.setting_options import GroupedCommand
from stages.shared_options import Common, common_options, say, suggest

SHOWN = (*PRESETS["small"], "batch_size", "folds", "validation")  # settings that people change first, of any preset
HEAD = """\
# Settings of mmer-pipe in this directory, written by `mmer-pipe init`. Options on the command line override them.
cache-dir = {cache}  # manifests and features
runs-dir = {runs}  # trained models and reports

[train]  # also for extract, transcribe, cv and audit
preset = {preset}
# The preset has the values below. To change one, uncomment it.
"""
TAIL = """
[cv]
# systems = "mmer,wav2vec2,roberta"
# seeds = "1,2,3"
"""


@click.command(cls=GroupedCommand)
@click.option("--preset", type=click.Choice(tuple(PRESETS)),
              help="Encoders and hyperparameters.  [paper with a GPU, else small]")  # fmt: skip
@common_options
def init(common: Common, preset: str | None) -> None:
    """Write mmer.toml with the settings for this machine."""
    path = Path(paths.CONFIG_NAME)
    if path.exists():
        raise UserError(f"{path} exists already. Edit it, or delete it and run the command again.")
    from mmer_pipeline import files
    from mmer_pipeline.devices import hardware, resolve_device

    reason = ""
    if preset is None:
        device = resolve_device(common.device)
        preset, reason = "paper" if device.type == "cuda" else "small", f" for {hardware(device)}"
    files.write_text(path, settings_file(preset, common.cache, common.runs))
    common.result({"path": str(path), "preset": preset})
    say(common, f"Wrote {path} with the preset {preset}{reason}.")
    suggest(common, "cv" if common.manifest(None).is_file() else "prepare CORPUS --root DIR")


def settings_file(preset: str, cache: Path, runs: Path) -> str:
    """The text of mmer.toml: directories, the preset, and its values as comments."""
    values = {**DEFAULTS, **PRESETS[preset]}
    shown = dict.fromkeys([*SHOWN, *PRESETS[preset]])
    lines = [f"# {name.replace('_', '-')} = {_toml(values[name])}  # {OPTIONS[name].help}" for name in shown]
    head = HEAD.format(cache=_toml(str(cache)), runs=_toml(str(runs)), preset=_toml(preset))
    return head + "\n".join(line if len(line) <= 120 else line.partition("  # ")[0] for line in lines) + "\n" + TAIL


def _toml(value: str | float) -> str:
    """A value as TOML: a JSON string is a basic string of TOML."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value:g}"
