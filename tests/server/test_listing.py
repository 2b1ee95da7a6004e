"""Lists of jobs: filters, pages, and that SQLite finds them by its indexes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wan_trt.engine.errors import InputError
from wan_trt.engine.request import Event, JobState
from wan_trt.server.listing import page_from_wire
from wan_trt.server.principal import EVERYBODY, Principal
from wan_trt.server.proto import wan_trt_v1_pb2 as wire
from wan_trt.server.store.job_index import JobFilter, query
from wan_trt.server.store.store import Store, StoredJob


@pytest.fixture
def store(memory_folder: Path) -> Iterator[Store]:
    store = Store(memory_folder / "jobs.sqlite3", durable=False)
    yield store
    store.close()


def add(store: Store, job_id: str, owner: str = "", at: float = 0.0, **labels: str) -> None:
    store.add(StoredJob(job_id, "", b"", "bundle", at, owner=owner), labels)
    store.add_event(Event(1, job_id, JobState.QUEUED))


def ids(store: Store, caller: Principal = EVERYBODY, **asked: Any) -> tuple[list[str], str]:
    """A page as Jobs makes it, and the token of the next one."""
    page = page_from_wire(wire.ListRequest(**asked), caller)
    found = store.index.page(page.asked, page.before, page.count + 1)
    token = page.token(found[page.count - 1].arrival) if len(found) > page.count else ""
    return [job.job_id for job in found[: page.count]], token


def test_the_newest_come_first(store: Store) -> None:
    for number in range(5):
        add(store, f"job{number}")
    assert ids(store) == ([f"job{number}" for number in (4, 3, 2, 1, 0)], "")


def test_filters(store: Store) -> None:
    add(store, "a", "anna", 10.0, show="dune", shot="1")
    add(store, "b", "bert", 20.0, show="dune")
    add(store, "c", "bert", 30.0, show="solaris", shot="1")
    store.add_event(Event(2, "b", JobState.RUNNING))
    store.add_event(Event(2, "c", JobState.FAILED))

    def found(**asked: Any) -> list[str]:
        return ids(store, **asked)[0]

    assert found(states=[wire.JOB_STATE_RUNNING, wire.JOB_STATE_FAILED]) == ["c", "b"]
    assert found(states=[wire.JOB_STATE_QUEUED]) == ["a"]
    assert found(labels={"show": "dune"}) == ["b", "a"]
    assert found(labels={"show": "dune", "shot": "1"}) == ["a"]
    assert found(labels={"show": "stalker"}) == []
    assert found(submitted_from={"seconds": 20}) == ["c", "b"]
    assert found(submitted_before={"seconds": 20}) == ["a"]
    assert found(caller=Principal("bert")) == ["c", "b"]
    assert found(caller=Principal("anna"), labels={"shot": "1"}) == ["a"]
    store.remove("b")
    assert found(labels={"show": "dune"}) == ["a"]


def test_pages_stay_put_while_jobs_come_and_go(store: Store) -> None:
    for number in range(10):
        add(store, f"job{number}", kind="old")
    first, token = ids(store, page_size=4)
    assert first == ["job9", "job8", "job7", "job6"]
    add(store, "new")
    store.remove("job7")  # seen already
    store.remove("job4")  # not yet
    second, token = ids(store, page_size=4, page_token=token)
    assert second == ["job5", "job3", "job2", "job1"]
    assert ids(store, page_size=4, page_token=token) == (["job0"], "")


@pytest.mark.parametrize("token", ["x", "AAAA", "é", "A" * 24])
def test_tokens_that_are_none(store: Store, token: str) -> None:
    with pytest.raises(InputError, match=r"page_token: .*begin with the first page"):
        ids(store, page_token=token)


def test_a_token_belongs_to_its_filter_and_its_caller(store: Store) -> None:
    for number in range(3):
        add(store, f"job{number}", "anna")
    _, token = ids(store, page_size=1)
    assert token
    with pytest.raises(InputError, match="page_token"):
        ids(store, page_token=token, states=[wire.JOB_STATE_QUEUED])
    with pytest.raises(InputError, match="page_token"):
        ids(store, Principal("anna"), page_token=token)


@pytest.mark.parametrize("size", [-1, 201])
def test_pages_of_an_odd_size(store: Store, size: int) -> None:
    with pytest.raises(InputError, match=f"page_size: {size}; expected 1 to 200"):
        ids(store, page_size=size)


def test_states_of_a_later_version_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="states: value 99"):
        ids(store, states=[99])


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (JobFilter(states=(JobState.PAUSED,)), "jobs_by_state"),
        (JobFilter(owner="anna"), "jobs_by_owner"),
        (JobFilter(labels={"show": "dune"}), "PRIMARY KEY (key=? AND value=?)"),
        (JobFilter(), "SEARCH jobs USING INTEGER PRIMARY KEY (rowid<?)"),
    ],
)
@pytest.mark.usefixtures("store")
def test_a_page_is_found_by_an_index(memory_folder: Path, asked: JobFilter, index: str) -> None:
    text, values = query(asked, before=1000)
    with sqlite3.connect(memory_folder / "jobs.sqlite3") as connection:
        plan = connection.execute(f"EXPLAIN QUERY PLAN {text}", [*values, 50]).fetchall()
    connection.close()
    told = "\n".join(row[3] for row in plan)
    assert index in told
    assert "SCAN jobs" not in told
