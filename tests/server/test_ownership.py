"""Jobs, keys and uploads belong to who sent them, also for the next server."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from durable import Life

from wan_trt.engine import Bundle
from wan_trt.engine.errors import NotFoundError
from wan_trt.server.principal import EVERYBODY, Principal
from wan_trt.server.uploads import Announced

ANNA, BERT, ADMIN = Principal("anna"), Principal("bert"), Principal("root", admin=True)


@pytest.fixture
def life(tiny_bundle: Bundle, memory_folder: Path) -> Iterator[Life]:
    life = Life(tiny_bundle, memory_folder / "data")
    yield life
    life.stop()


def test_a_job_is_seen_by_its_owner_and_admins_alone(
    life: Life, media: dict[str, Path], tiny_bundle: Bundle, memory_folder: Path
) -> None:
    job_id = life.submit(media, caller=ANNA).job_id
    life.stop()
    again = Life(tiny_bundle, memory_folder / "data")
    for jobs in (life.jobs, again.jobs):
        for caller in (ANNA, ADMIN, EVERYBODY):
            assert jobs.get(job_id, caller).owner == "anna"
        for ask in (jobs.get, jobs.cancel):
            with pytest.raises(NotFoundError) as theirs:
                ask(job_id, BERT)
            with pytest.raises(NotFoundError) as nobodys:
                ask("0" * 32, BERT)
            assert str(theirs.value) == str(nobodys.value).replace("0" * 32, job_id)
    again.run()
    assert again.results()
    again.stop()


def test_the_same_key_of_two_owners_makes_two_jobs(life: Life, media: dict[str, Path]) -> None:
    first = life.submit(media, key="shot 1", caller=ANNA)
    other = life.submit(media, key="shot 1", seed=4, caller=BERT)
    assert first.job_id != other.job_id
    assert life.submit(media, key="shot 1", caller=ANNA) is first
    assert life.submit(media, key="shot 1", seed=4, caller=BERT) is other


def test_only_the_owners_fetch_lets_a_result_go(life: Life, media: dict[str, Path]) -> None:
    record = life.submit(media, caller=ANNA)
    life.run()
    life.jobs.mark_fetched(record, ADMIN)
    assert not life.data.store.jobs()[0].fetched
    life.jobs.mark_fetched(record, ANNA)
    assert life.data.store.jobs()[0].fetched


def test_who_knows_the_hash_of_a_file_does_not_have_it(life: Life, media: dict[str, Path]) -> None:
    upload_id = life.upload(media["pose"], "anna")
    with pytest.raises(NotFoundError):
        life.uploads.path(upload_id, "pose", "bert")
    content = media["pose"].read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    sent = iter([content])
    announced = Announced("p.safetensors", len(content), digest)
    assert life.uploads.receive(announced, sent, "bert") == upload_id
    assert not list(sent), "bert had to send it, like anybody who is the first"
    assert life.uploads.path(upload_id, "pose", "bert").read_bytes() == content
    assert life.uploads.nbytes("bert") == len(content)
    life.uploads.remove_older(-1)
    assert life.uploads.nbytes("bert") == 0
