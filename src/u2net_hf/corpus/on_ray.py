"""The pieces of a corpus shared among the actors of a Ray cluster, by Ray Data.

Only the numbers of pieces and counts travel: an actor reads its piece from the source, makes its rows as one process
would, and writes its file to the target. What an actor or a machine had not finished when it was lost is done again
elsewhere.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from typing import Any

import numpy as np

from .predict import Plan, predict_piece
from .target import Counts

# Ray reads these when it is imported. Nothing is told to others unasked; what goes wrong is raised too.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")

import ray
from ray.exceptions import RayError, RayTaskError

# Tasks that Ray is given at most: each has some pieces then.
MOST_TASKS = 1000
REACHED_WITHIN = 10.0  # seconds


def predict_on_ray(
    plan: Plan, num_actors: int | None = None, cores_per_actor: int | None = None, address: str | None = None
) -> Iterator[Counts]:
    """Do all pieces that are missing, and say of each what it held.

    Args:
        plan: What is made of what; source and target must be the same for all machines.
        num_actors: Actors in all; by default one for each GPU, or for the given number of cores.
        cores_per_actor: Cores for an actor; by default one, or on GPUs an even share of them.
        address: Of a cluster; by default one on this machine, for this run. If this process is part of one already,
            that is used.

    Raises:
        OSError: If the cluster cannot be reached, or as [`u2net_hf.corpus.predict.predict_here`].
        ValueError: As there; or if the cluster has not so many cores.
    """
    started = _connect(address)
    try:
        actors, resources = _share_out(plan, num_actors, cores_per_actor)
        describe: Any = ray.remote(lambda plan: plan.variant(plan.load())).options(**resources)
        variant = ray.get(describe.remote(plan))  # what the machines of the cluster make
        missing = plan.open_target().prepare(variant)
        if missing:
            yield from _run(plan, missing, variant, actors, resources)
    except RayTaskError as error:
        cause = error.cause
        raise (cause if isinstance(cause, Exception) else error) from None
    except RayError as error:
        raise RuntimeError(f"Ray could not go on: {' '.join(str(error).split())}") from error
    finally:
        if started:
            ray.shutdown()


def _connect(address: str | None) -> bool:
    """Connect to a cluster or start one; whether that was done here."""
    if ray.is_initialized():
        return False
    _check_reachable(address)
    try:
        ray.init(address or "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of gRPC, of sockets, of Ray: there is no common class
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConnectionError(f"the Ray cluster {address or 'on this machine'} cannot be used: {reason}") from error
    return True


def _check_reachable(address: str | None) -> None:
    """Raise at once if nothing answers at an address, for which Ray waits some minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACHED_WITHIN).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ConnectionError(f"the Ray cluster {address} cannot be reached: {error}") from error


def _share_out(plan: Plan, num_actors: int | None, cores: int | None) -> tuple[int, dict[str, Any]]:
    """How many actors there are, and what each of them gets."""
    there = ray.cluster_resources()
    num_cores, gpus = int(there.get("CPU", 1)), int(there.get("GPU", 0))
    on_gpu = gpus > 0 and plan.engine == "torch" and plan.device != "cpu"
    if on_gpu:
        actors = num_actors or gpus
        cores = cores or max(1, num_cores // actors)
    else:
        cores = cores or 1
        actors = num_actors or max(1, num_cores // cores)
    if actors * cores > num_cores or (on_gpu and actors > gpus):
        raise ValueError(
            f"{actors} actors of {cores} cores are more than the cluster has ({num_cores} cores, {gpus} GPUs): lower "
            "--num-actors or --cores-per-actor"
        )
    return actors, {"num_cpus": cores, "num_gpus": 1 if on_gpu else 0}


def _run(
    plan: Plan, missing: list[int], variant: dict[str, Any], actors: int, resources: dict[str, Any]
) -> Iterator[Counts]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    pieces = ray.data.from_items(missing, override_num_blocks=min(len(missing), MOST_TASKS))
    counts = pieces.map_batches(
        _Worker,
        fn_constructor_args=(plan, variant, resources["num_cpus"]),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=min(actors, len(missing))),
        **resources,
    )
    for row in counts.iter_rows():
        yield Counts(int(row["done"]), int(row["failed"]))


class _Worker:
    """An actor: the networks loaded once, then piece after piece."""

    def __init__(self, plan: Plan, variant: dict[str, Any], cores: int) -> None:
        self.plan, self.target = plan, plan.open_target()
        self.make_rows = plan.load(workers=cores)
        mine = plan.variant(self.make_rows)
        if mine != variant:
            names = ", ".join(f"{name} {mine.get(name)}" for name in variant if mine.get(name) != variant[name])
            raise ValueError(f"a machine of the cluster makes other maps ({names}): name --dtype and --device")

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = [predict_piece(self.plan, self.target, self.make_rows, int(piece)) for piece in batch["item"]]
        return {name: np.array([getattr(one, name) for one in found]) for name in ("done", "failed")}
