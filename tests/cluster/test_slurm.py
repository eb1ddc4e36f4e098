"""The script for Slurm in docs/clusters.md, run by a program that does what `sbatch` does with it."""

import os
import subprocess
from pathlib import Path

from helpers.command_line import succeed

from mmer_pipeline import paths

REPOSITORY = Path(__file__).resolve().parents[2]
# Runs the script once for each number of the array, and notes the process that Slurm would send signals to. An --array
# on the command line is taken in place of the one in the script's #SBATCH lines.
SBATCH = """#!/bin/bash
array=$(sed -n 's/^#SBATCH --array=//p' "${@: -1}")
log=$(sed -n 's/^#SBATCH --output=//p' "${@: -1}")
case $1 in --array=*) array=${1#--array=};; esac
for task in $(seq ${array%-*} ${array#*-}); do
    SLURM_ARRAY_TASK_ID=$task bash "${@: -1}" > "${log/%a/$task}" 2>&1 &
    echo $! > signalled-$task
    wait
done
"""
# Notes its words, a line each, and its process.
MMER_PIPE = """#!/bin/bash
printf '%s\\n' "$@" > words-$SLURM_ARRAY_TASK_ID
echo $$ > process-$SLURM_ARRAY_TASK_ID
"""


def program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_a_task_of_the_array_trains_and_evaluates_its_fold(corpus, encoders):
    page = (REPOSITORY / "docs" / "clusters.md").read_text(encoding="utf-8")
    script = page.split('```bash title="folds.sbatch"\n')[1].split("```")[0]
    Path("folds.sbatch").write_text(script)
    program(Path("bin/sbatch"), SBATCH)
    program(Path("bin/mmer-pipe"), MMER_PIPE)
    environment = {**os.environ, "PATH": f"{Path('bin').absolute()}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sbatch", "--array=1-2", "folds.sbatch"], env=environment, check=True)
    for task in (1, 2):  # the signal before the end of the time reaches the command itself
        assert Path(f"process-{task}").read_text() == Path(f"signalled-{task}").read_text()
    text, speech = encoders[1], encoders[3]
    Path("mmer.toml").write_text(
        f"[train]\nsystem = 'roberta'\nrun = 'mmer'\nepochs = 1\ntext-encoder = '{text}'\nspeech-encoder = '{speech}'\n"
    )
    succeed(*Path("words-2").read_text().splitlines())
    assert paths.fold(Path("runs/mmer"), 2).evaluation.is_file()
    assert not paths.fold(Path("runs/mmer"), 1).directory.exists()
