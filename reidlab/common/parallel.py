"""Threads that work ahead, results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    threads: int,
    start: Callable[[], None] | None = None,
) -> Iterator[Result]:
    """Results of a function over items, in the order of the items, computed by threads.

    At most two items a thread are in work or wait to be fetched, so what is unfetched stays
    small however many items there are. An error of the function comes out here; then, as when
    the caller stops early, nothing more is begun.

    Args:
        function: called in one of the threads.
        items: its arguments.
        threads: how many work at the same time.
        start: called once in every thread before its first item.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=start) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
