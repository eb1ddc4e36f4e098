"""Asking a cluster: which workers it has, and the results of tasks, which are brought here."""

import asyncio
import concurrent.futures
from typing import Any

from distributed import Client, Future

SECONDS_BETWEEN_LOOKS = 0.5  # at whether a result that is being fetched still exists


def workers_of(client: Client) -> dict[str, Any]:
    """The scheduler's workers: address → facts.

    `Client.scheduler_info` returns a copy that a timer replaces every two seconds by one without workers; whoever looks
    just then, on a busy machine, would find that all of them are gone.

    Raises:
        OSError: the connection was lost.
    """
    if client.scheduler is None:
        raise ConnectionError("no scheduler")
    found: dict[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    return found


class ResultLost(Exception):  # noqa: N818 (a state, not a fault)
    """The worker that had a result is gone, or the connection to the scheduler is."""


def fetch(client: Client, future: Future[Any]) -> Any:
    """The result of a task that has finished.

    Dask alone would wait until the task has been computed again; if only a worker that is gone may do so, for ever.

    Raises:
        ResultLost: the worker that had it is gone.
    """
    return client.sync(_fetch, client, future)


async def _fetch(client: Client, future: Future[Any]) -> Any:
    gathering = asyncio.ensure_future(client.gather(future, asynchronous=True))
    try:
        while not gathering.done():
            await asyncio.wait([gathering], timeout=SECONDS_BETWEEN_LOOKS)
            if not gathering.done() and future.status != "finished":
                raise ResultLost
        return gathering.result()
    except (OSError, asyncio.CancelledError, concurrent.futures.CancelledError):
        raise ResultLost from None
    finally:
        gathering.cancel()
