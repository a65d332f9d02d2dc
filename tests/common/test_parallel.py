"""Threads that work ahead: in order, not too far, and no further than the first error."""

import threading
import time

import pytest

from reidlab.common.parallel import in_order


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(threads):
    def slow_at_first(number):
        time.sleep(0.02 / (number + 1))
        return number**2

    assert list(in_order(slow_at_first, range(20), threads)) == [n**2 for n in range(20)]
    assert list(in_order(slow_at_first, [], threads)) == []


def test_threads_never_work_far_ahead_of_the_reader():
    begun = []
    results = in_order(begun.append, range(1000), 3)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 2 * 3 + 1


def test_an_error_comes_out_in_its_place_and_ends_the_work():
    begun = []

    def fail_at_five(number):
        begun.append(number)
        if number == 5:
            raise ValueError("five")
        return number

    got = []
    with pytest.raises(ValueError, match="five"):
        for result in in_order(fail_at_five, range(1000), 2):
            got.append(result)
    assert got == [0, 1, 2, 3, 4]
    assert max(begun) <= 5 + 2 * 2


def test_a_reader_who_stops_early_leaves_no_thread_at_work():
    before = threading.active_count()
    results = in_order(lambda number: number, range(1000), 4)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_every_thread_begins_with_the_start_function():
    prepared = threading.local()

    def start():
        prepared.ready = True

    assert all(in_order(lambda _: prepared.ready, range(50), 3, start))
