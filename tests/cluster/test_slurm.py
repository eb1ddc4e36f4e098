"""The script for Slurm in docs/clusters.md, run by a program that does what `sbatch` does with it."""

import os
import subprocess
import sys
from pathlib import Path

from helpers.command_line import succeed

from mmer_pipeline import paths

REPOSITORY = Path(__file__).resolve().parents[2]
# Takes the options of the script's own #SBATCH lines, and those of its command line instead where both have them.
SBATCH = """#!/bin/bash
array=$(sed -n 's/^#SBATCH --array=//p' "${@: -1}")
log=$(sed -n 's/^#SBATCH --output=//p' "${@: -1}")
case $1 in --array=*) array=${1#--array=};; esac
for task in $(seq ${array%-*} ${array#*-}); do
    SLURM_ARRAY_TASK_ID=$task bash "${@: -1}" > "${log/%a/$task}" 2>&1
done
"""


def program(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_a_task_of_the_array_trains_and_evaluates_its_fold(manifest, encoders):
    page = (REPOSITORY / "docs" / "clusters.md").read_text(encoding="utf-8")
    script = page.split('```bash title="folds.sbatch"\n')[1].split("```")[0]
    Path("folds.sbatch").write_text(script)
    program(Path("bin/sbatch"), SBATCH)
    program(Path("bin/mmer-pipe"), f'#!/bin/bash\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m stages.cli "$@"\n')
    text, speech = encoders[1], encoders[3]
    options = f"text-encoder = '{text}'\nspeech-encoder = '{speech}'\n"
    Path("mmer.toml").write_text(
        f"[extract]\n{options}[train]\nsystem = 'roberta'\nrun = 'mmer'\nepochs = 1\n{options}"
    )
    succeed("extract", "--system", "roberta")
    environment = {**os.environ, "PATH": f"{Path('bin').absolute()}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sbatch", "--array=2", "folds.sbatch"], env=environment, check=True)
    assert paths.fold(Path("runs/mmer"), 2).evaluation.is_file(), Path("fold-2.log").read_text()
    assert not paths.fold(Path("runs/mmer"), 1).directory.exists()
