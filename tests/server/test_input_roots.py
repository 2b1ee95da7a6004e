"""Files of the server's machine that callers name: below the operator's folders, and no others."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from serving import MakeServer, MakeSubmission, MediaFiles

from wan_trt.engine import JobState
from wan_trt.engine.errors import InputError
from wan_trt.server.client import Client
from wan_trt.server.errors import PermissionDeniedError
from wan_trt.server.input_roots import InputRoots
from wan_trt.server.security import SecurityOptions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file, beside one with a secret."""
    (tmp_path / "root" / "deep").mkdir(parents=True)
    (tmp_path / "root" / "deep" / "pose.bin").write_bytes(b"pose")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"secret")
    return tmp_path / "root"


def test_what_is_below_the_folder_is_read(root: Path) -> None:
    with InputRoots([root]).open(f"file:{root}/deep/./pose.bin", "pose") as file:
        assert file.read() == b"pose"


def test_nothing_else_is_and_all_is_refused_alike(root: Path) -> None:
    secret = root.parent / "secret"
    (root / "link").symlink_to(secret / "key")
    (root / "folder").symlink_to(secret)
    (root / "inside").symlink_to(root / "deep" / "pose.bin")
    os.mkfifo(root / "pipe")
    roots = InputRoots([root])
    refused = set()
    for path in (
        *(root / "link", root / "folder" / "key", root / "inside", root / "pipe", root / "deep"),
        *(root / "none", root, secret / "key", "/etc/passwd", "/dev/zero", "/", "", "."),
        *(
            f"{root}/../secret/key",
            f"{root}/deep/../../secret/key",
            f"{root}/deep/../deep/pose.bin",
        ),
        *(f"{root}/deep/pose.bin\0", f"{root}x/key", "deep/pose.bin", f"/{root}/deep/pose.bin/"),
        *(f"{root}/deep/pose.bin/key", f"{root}/{'a' * 5000}", f"//proc/self/root{secret}/key"),
    ):
        with pytest.raises(PermissionDeniedError) as raised:
            roots.open(f"file:{path}", "pose").close()
        refused.add((raised.value.field, raised.value.expected, raised.value.action))
    assert len(refused) == 1
    with pytest.raises(PermissionDeniedError):
        InputRoots([]).open(f"file:{root}/deep/pose.bin", "pose")
    with pytest.raises(InputError, match="no folder"):
        InputRoots([root / "deep" / "pose.bin"])


def test_a_link_that_is_swapped_in_at_any_moment_leads_nowhere(root: Path) -> None:
    """Another thread makes `deep` a folder, a link to the secret, and a folder again."""
    secret, real, link = root.parent / "secret", root / "real", root / "turned"
    (root / "deep").rename(real)
    (real / "key").write_bytes(b"pose")
    link.symlink_to(secret)
    deep = root / "deep"
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            real.rename(deep)
            deep.rename(real)
            link.rename(deep)
            deep.rename(link)

    swapping = threading.Thread(target=swap)
    swapping.start()
    roots, read = InputRoots([root]), []
    try:
        for _ in range(3000):
            try:
                with roots.open(f"file:{deep}/key", "pose") as file:
                    read.append(file.read())
            except PermissionDeniedError:
                pass
    finally:
        over.set()
        swapping.join()
    assert read
    assert set(read) == {b"pose"}


def test_a_job_of_files_that_the_server_has(
    make_server: MakeServer,
    make_submission: MakeSubmission,
    media_files: MediaFiles,
) -> None:
    folder = media_files.pose.parent
    server = make_server(security=SecurityOptions(input_roots=(folder,)))
    with Client(str(server.address), timeout_s=60) as client:
        sent = client.submit(make_submission(client))
        named = client.submit(make_submission(client, pose=f"file:{media_files.pose}"))
        results = []
        for job_id in (sent, named):
            assert client.wait(job_id).state is JobState.DONE
            results.append(b"".join(client.fetch_chunks(job_id)))
        assert results[0] == results[1]
        with pytest.raises(PermissionDeniedError, match=r"^pose: "):
            client.submit(make_submission(client, pose="file:/etc/passwd"))


def test_without_a_folder_no_file_can_be_named(
    client: Client, make_submission: MakeSubmission, media_files: MediaFiles
) -> None:
    with pytest.raises(PermissionDeniedError):
        client.submit(make_submission(client, pose=f"file:{media_files.pose}"))
