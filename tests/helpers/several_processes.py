"""Two processes that share a training on the CPU, forked from a server that has imported everything (conftest.py)."""

import multiprocessing
import os
import signal
import socket
from pathlib import Path

from mmer_pipeline import paths

ASKED, KILLED = signal.SIGTERM, signal.SIGKILL


def in_two(words, event=None):
    """Run a command in two processes; returns the exit status of each, and what it printed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{"RANK": rank, "LOCAL_RANK": rank, **shared} for rank in "01"]
    return _ends([(_command, words, event, variables) for variables in ranks])


def under_torchrun(words, event=None):
    """Run a command in two processes that torchrun starts, once again if one dies; returns the same of torchrun."""
    return _ends([(_torchrun, words, event)])[0]


def _ends(calls):
    context = multiprocessing.get_context("forkserver")
    outputs = [Path(f"output-{number}") for number in range(len(calls))]
    processes = [context.Process(target=_redirected, args=pair) for pair in zip(outputs, calls, strict=True)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [(process.exitcode, output.read_text()) for process, output in zip(processes, outputs, strict=True)]


def _redirected(output, call):
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    function, *arguments = call
    function(*arguments)


def _torchrun(words, event):
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # see docs/clusters.md
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, max_restarts=1, start_method="fork", run_id="test",
        rdzv_backend="c10d", rdzv_endpoint="localhost:0", local_addr="localhost", logs_specs=DefaultLogsSpecs("logs"),
    )  # fmt: skip
    elastic_launch(config, _command)(words, event, {})


def _command(words, event, variables):
    """Run a command in one of the processes; the second one gets the signal the first time that it could stop."""
    from mmer_pipeline.training import loop
    from stages.cli import main
    from stages.training_progress import TrainingProgress

    def stop_requested(progress):
        os.kill(os.getpid(), event)
        return progress.stop.requested

    os.environ.update(variables)
    loop.STEPS_BETWEEN_READINGS = 2
    if event and os.environ["RANK"] == "1" and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        TrainingProgress.stop_requested = stop_requested
    main(words)


def weights(run):
    """The bytes of the trained model of fold 1."""
    return paths.fold(Path("runs") / run, 1).weights.read_bytes()
