"""Tests of u2net_hf.corpus.on_ray: the rows of one process, on two machines, one of which may die.

One cluster of two nodes on this machine serves all of them; starting it takes some seconds.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corpus_helpers import make_model, read_rows, remove_masks, write_photos

from u2net_hf.corpus.predict import Plan, predict_here
from u2net_hf.corpus.target import Counts
from u2net_hf.data.photos import load_photos

ray = pytest.importorskip("ray", reason="needs Ray: pip install 'u2net-hf[ray]'")
pytestmark = pytest.mark.slow

NUMBER = 12
MEMORY = 80 * 2**20  # bytes of each node's object store, the least that Ray takes


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    from u2net_hf.corpus import on_ray

    options = {"num_cpus": 1, "object_store_memory": MEMORY}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")  # by default others' work comes first
        cluster = Cluster(initialize_head=True, head_node_args={**options, "include_dashboard": False})
        cluster.add_node(**options)
        on_ray._connect(cluster.address)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_photos(tmp_path_factory.mktemp("corpus") / "photos", NUMBER)
    (folder / "bad.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def expected(photos: Path, model: str) -> dict[str, bytes]:
    return remove_masks(photos, model)


def start(photos: Path, target: Path, model: str, actors: int) -> Iterator[Counts]:
    from u2net_hf.corpus.on_ray import predict_on_ray

    plan = Plan(load_photos(photos, piece_size=1), str(target), [model])
    return predict_on_ray(plan, num_actors=actors, cores_per_actor=1)


def check(target: Path, expected: dict[str, bytes]) -> None:
    """All rows are there, each once, to the bit."""
    rows = read_rows(target)
    assert sorted(rows) == sorted([*expected, "bad"])
    assert {name: rows[name]["map"]["bytes"] for name in expected} == expected
    assert rows["bad"]["error"]


def wait_for(condition: Any) -> None:
    limit = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def actors_of(cluster: Any) -> list[int]:
    """The processes of the actors on all nodes."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent, name = int(stat.read_text().rpartition(")")[2].split()[1]), (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if parent in raylets and "MapWorker" in name:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("actors", [1, 2])
def test_actors_make_what_remove_makes(
    cluster: Any, photos: Path, tmp_path: Path, model: str, actors: int, expected: dict[str, bytes]
) -> None:
    counts = list(start(photos, tmp_path / "maps", model, actors))
    assert sum(counts, Counts()) == Counts(NUMBER, 1)
    check(tmp_path / "maps", expected)
    assert list(start(photos, tmp_path / "maps", model, actors)) == []


def test_an_actor_that_is_killed_is_replaced(
    cluster: Any, photos: Path, tmp_path: Path, model: str, expected: dict[str, bytes]
) -> None:
    pieces = start(photos, tmp_path / "maps", model, 1)
    counts = [next(pieces)]
    [actor] = actors_of(cluster)
    os.kill(actor, signal.SIGKILL)
    counts += pieces
    assert sum(counts, Counts()) == Counts(NUMBER, 1)
    check(tmp_path / "maps", expected)


def test_a_driver_that_is_killed_loses_nothing(
    cluster: Any, photos: Path, tmp_path: Path, model: str, expected: dict[str, bytes]
) -> None:
    target = tmp_path / "maps"
    command = [sys.executable, "-m", "u2net_hf", "predict", str(photos), str(target), "-m", model, "--shard-size", "1"]
    driver = subprocess.Popen([*command, "--address", cluster.address, "--num-actors", "1"], stderr=subprocess.PIPE)
    wait_for(lambda: list(target.glob("data/*.parquet")) or driver.poll() is not None)
    driver.kill()
    driver.communicate()
    wait_for(lambda: not actors_of(cluster))
    there = {path.name: path.stat().st_mtime_ns for path in target.glob("data/*.parquet")}
    assert there
    again = list(predict_here(Plan(load_photos(photos, piece_size=1), str(target), [model])))
    assert len(again) == NUMBER + 1 - len(there)
    assert {name: (target / "data" / name).stat().st_mtime_ns for name in there} == there
    check(target, expected)


def test_a_cluster_that_is_too_small_is_said(cluster: Any, photos: Path, tmp_path: Path, model: str) -> None:
    with pytest.raises(ValueError, match="50 actors of 1 cores are more than the cluster has"):
        next(start(photos, tmp_path / "maps", model, 50))


def test_an_error_of_an_actor_is_told_as_in_one_process(cluster: Any, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"There is no model \./nothing"):
        next(start(photos, tmp_path / "maps", "./nothing", 1))


def test_a_node_that_is_lost_leaves_the_work_to_the_other(
    cluster: Any, photos: Path, tmp_path: Path, model: str, expected: dict[str, bytes]
) -> None:
    pieces = start(photos, tmp_path / "maps", model, 2)
    counts = [next(pieces)]
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    counts += pieces
    assert sum(counts, Counts()) == Counts(NUMBER, 1)
    check(tmp_path / "maps", expected)
