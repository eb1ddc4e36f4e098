"""Results of tasks, brought here from the workers that computed them."""

import asyncio
import concurrent.futures
from typing import Any

from distributed import Client, Future

SECONDS_BETWEEN_LOOKS = 0.5  # at whether a result that is being fetched still exists


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
