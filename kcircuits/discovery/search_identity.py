"""Which search is this: all that decides a result to the last bit."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from kcircuits._native import C
from kcircuits.data.prompts import Prompt
from kcircuits.files.documents import quote
from kcircuits.model.devices import devices_of, tensors_of
from kcircuits.model.identity import configuration_hash
from kcircuits.model.spec import ModelSpec
from kcircuits.task import Task


def search_of(
    spec: ModelSpec, task: Task, identity: dict[str, Any], settings: dict[str, Any], memory: int
) -> dict[str, Any]:
    """All that decides how a search runs, to the last bit, as JSON values.

    Parameters
    ----------
    spec, identity
        The model. Its name does not matter, its weights do, and what they are kept in.
    task
        Of the prompts, the ids count.
    settings
        The method's, and what was done to the model.
    memory
        The budget in bytes, as it decides how much is evaluated together and so how products are rounded; as
        do the number of threads, the processor and the versions.
    """
    weights = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors_of(spec)})
    return {
        "model": identity.get("weights_hash"),
        "dtype": ", ".join(weights),
        "configuration": configuration_hash(spec, exact=True),
        **settings,
        "prompts": _digest([_ids(task, prompt) for prompt in task.prompts]),
        "reference prompts": _digest([prompt.clean_ids for prompt in task.reference]),
        "memory": memory,
        "threads": torch.get_num_threads(),
        "device": ", ".join(map(_device, devices_of(spec))),
        "torch": torch.__version__,
        "engine": C.source_hash,
    }


def _ids(task: Task, prompt: Prompt) -> tuple[Any, ...]:
    corrupt = prompt.corrupt_ids if task.ablation == "corrupt" else None
    wrong = prompt.wrong_id if task.metric == "logit-diff" else None
    return (prompt.clean_ids, corrupt, prompt.answer_id, wrong)


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({torch.backends.cpu.get_cpu_capability()})"


def difference_of(theirs: dict[str, Any], ours: dict[str, Any]) -> tuple[str, str, str] | None:
    """The first key in which two searches differ, and what each has there, in words; None if none does."""
    for key in [*ours, *theirs]:
        if ours.get(key) != theirs.get(key):
            return key, _in_words(theirs.get(key)), _in_words(ours.get(key))
    return None


def _in_words(value: object) -> str:
    is_digest = isinstance(value, str) and len(value) == 64
    return f"{value[:12]}…" if is_digest else quote(value)  # type: ignore[index]
