"""A pool of actors on a Ray cluster, which places them by their threads, memory and GPUs.

Weights that are used as stored are pages of the model's file. Actors map the file and share its pages on each
node. Other weights were converted when loaded, and each actor would have its own copy. They are put into the
object store once, so that each node has one copy, which all of its actors read in place.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from kcircuits.errors import KCircuitsError
from kcircuits.model.huggingface import first_line
from kcircuits.model.packing import pack_model
from kcircuits.runtime.optional import need
from kcircuits.sweeps.expand import load_choice
from kcircuits.sweeps.forecast import PROCESS, private_weights, shared_weights
from kcircuits.sweeps.grid import ModelChoice
from kcircuits.sweeps.keys import ALGORITHMS
from kcircuits.sweeps.pool import Event, Failed, Finished, Listener, Order
from kcircuits.sweeps.ray_worker import Worker, look

_SECONDS_TO_LOOK = 300.0


@dataclass(frozen=True)
class _Weights:
    """A reference to weights in the object store; or an empty list, and `private` bytes per actor."""

    reference: list[Any]
    private: int


@dataclass
class _Actor:
    handle: Any
    model: ModelChoice
    memory: int
    order: Order | None = None
    said: Any = None


class RayPool:
    """At most `size` actors with `threads` threads each, which are created when there is work for them.

    Raises KCircuitsError if no node has as many CPUs as an actor has threads, or no GPU if one is needed
    (`gpu`), or a node does not see the output folder or has another version of the algorithms.
    """

    def __init__(self, ray: ModuleType, out: Path, size: int, threads: int, *, gpu: bool) -> None:
        self._ray, self._out = ray, out.resolve()
        self._size, self._threads = size, threads
        self._actors: list[_Actor] = []
        self._weights: dict[ModelChoice, _Weights] = {}
        self._refused: list[Failed] = []
        self._number = 0
        nodes = self._usable_nodes(gpu)
        self._most_memory = int(max(node["Resources"].get("memory", 0) for node in nodes))
        self._check_nodes(nodes)

    @property
    def free(self) -> int:
        """Number of idle actors, created or not."""
        return self._size - sum(actor.order is not None for actor in self._actors)

    @property
    def memory(self) -> int | None:
        """None: Ray places actors by their declared memory."""
        return None

    def submit(self, order: Order) -> None:
        """Give an order to an idle actor with the model and enough memory, or to a new one."""
        try:
            actor = self._idle(order) or self._make_actor(order)
        except KCircuitsError as error:
            self._refused.append(Failed(order.key, "error", str(error)))
            return
        actor.order = order
        actor.said = actor.handle.do.options(num_returns="streaming").remote(order)

    def wait(self, listener: Listener) -> None:
        """Pass on events of the actors."""
        while self._refused:
            listener(self._refused.pop())
        by_stream = {actor.said: actor for actor in self._actors if actor.order is not None}
        if by_stream:
            ready, _ = self._ray.wait(list(by_stream), num_returns=1, timeout=1.0)
            for stream in ready:
                self._hear(by_stream[stream], listener)

    def close(self) -> None:
        """Kill all actors. The next run deletes unfinished results from the scratch folder."""
        for actor in self._actors:
            self._ray.kill(actor.handle)
        self._actors.clear()
        self._weights.clear()

    def _idle(self, order: Order) -> _Actor | None:
        """A suitable idle actor. If there is none and no room for a new one, an idle one is removed."""
        idle = [actor for actor in self._actors if actor.order is None]
        needs = self._needs(order)
        for actor in idle:
            if actor.model == order.job.model and actor.memory >= needs:
                return actor
        if len(self._actors) == self._size:
            self._give_up(idle[0])
        return None

    def _make_actor(self, order: Order) -> _Actor:
        model, needs = order.job.model, self._needs(order)
        weights = self._weights_of(model)
        self._number += 1
        made = self._ray.remote(Worker).options(
            num_cpus=self._threads,
            num_gpus=1 if model.device == "cuda" else 0,
            memory=needs,
            max_restarts=0,  # the main loop decides about its job
        )
        handle = made.remote(self._out, self._threads, f"worker {self._number}", weights.reference)
        actor = _Actor(handle, model, needs)
        self._actors.append(actor)
        used = {each.model for each in self._actors}
        self._weights = {kept: weights for kept, weights in self._weights.items() if kept in used}
        return actor

    def _give_up(self, actor: _Actor) -> None:
        self._ray.kill(actor.handle)
        self._actors.remove(actor)

    def _needs(self, order: Order) -> int:
        """Bytes that an actor declares for a job, at most the memory of a node, so that it can run."""
        needs = PROCESS + self._weights_of(order.job.model).private + order.job.needs
        return min(needs, self._most_memory)

    def _weights_of(self, choice: ModelChoice) -> _Weights:
        if choice not in self._weights:
            model = load_choice(choice)
            private = private_weights(model.spec)
            if choice.device == "cpu" and private > shared_weights(model.spec):
                try:
                    self._weights[choice] = _Weights([self._ray.put(pack_model(model))], 0)
                except self._ray.exceptions.RayError as error:
                    raise KCircuitsError(
                        f"cannot put {choice.source} into Ray's object store: {first_line(error)}"
                    ) from error
            else:
                self._weights[choice] = _Weights([], private)
        return self._weights[choice]

    def _hear(self, actor: _Actor, listener: Listener) -> None:
        assert actor.order is not None
        key = actor.order.key
        try:
            event: Event = self._ray.get(next(actor.said))
        except self._ray.exceptions.RayTaskError as error:  # a bug: errors of jobs arrive as events
            event = Failed(key, "error", first_line(error), str(error))
            self._give_up(actor)
        except (self._ray.exceptions.RayError, StopIteration) as error:
            event = Failed(key, "died", "its Ray actor ended", str(error))
            self._give_up(actor)
        if isinstance(event, Finished | Failed):
            actor.order = actor.said = None
        listener(event)

    def _usable_nodes(self, gpu: bool) -> list[dict[str, Any]]:
        """The nodes that can run an actor."""
        nodes = [node for node in self._ray.nodes() if node["Alive"]]
        usable = [node for node in nodes if node["Resources"].get("CPU", 0) >= self._threads]
        if not usable:
            raise KCircuitsError(
                f"no node of the Ray cluster has {self._threads} CPUs for an actor: use fewer --threads"
            )
        if gpu and not any(node["Resources"].get("GPU", 0) >= 1 for node in usable):
            raise KCircuitsError(
                "the sweep has a model on cuda, but no node of the Ray cluster has a GPU and "
                f"{self._threads} CPUs: use device: cpu, or fewer --threads"
            )
        return usable

    def _check_nodes(self, nodes: list[dict[str, Any]]) -> None:
        """Raise KCircuitsError unless actors on these nodes can write to the output folder."""
        need("ray", "sweeps on a cluster")
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        scratch = self._out / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        token = Path(tempfile.mkdtemp(prefix="making-", dir=scratch))
        try:
            looks = {}
            for node in nodes:
                there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                options = {"num_cpus": 0, "scheduling_strategy": there, "max_retries": 0}
                looks[node["NodeManagerAddress"]] = self._ray.remote(look).options(**options).remote(token)
            for address, seen in looks.items():
                self._check_seen(address, seen)
        finally:
            shutil.rmtree(token, ignore_errors=True)

    def _check_seen(self, address: str, seen: Any) -> None:
        try:
            is_there, algorithms = self._ray.get(seen, timeout=_SECONDS_TO_LOOK)
        except self._ray.exceptions.RayError as error:
            raise KCircuitsError(
                f"node {address} of the Ray cluster cannot run kcircuits: {first_line(error)}"
            ) from error
        if not is_there:
            raise KCircuitsError(
                f"node {address} of the Ray cluster does not see {self._out}: choose an --out on a file "
                "system that all nodes share"
            )
        if algorithms != ALGORITHMS:
            raise KCircuitsError(
                f"node {address} of the Ray cluster has another version of kcircuits: install this version "
                "there"
            )
