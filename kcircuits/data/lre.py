"""The schema of the LRE dataset (arXiv 2308.09124): one file per relation with templates and samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from kcircuits.errors import KCircuitsError


@dataclass(frozen=True)
class Fact:
    """A subject and its true objects; the first object is the answer."""

    subject: str
    objects: tuple[str, ...]


@dataclass(frozen=True)
class Relation:
    """A relation: facts of one kind.

    Parameters
    ----------
    name
        Name of the relation.
    templates
        Prompts with `{}` for the subject: the file's `prompt_templates`, then its `prompt_templates_zs`,
        without duplicates.
    facts
        One per subject, in the order of the file.
    properties
        The file's own description: `relation_type`, `domain_name`, `range_name`, `symmetric`.
    merged
        Number of samples in the file that are not facts of their own, by reason.
    """

    name: str
    templates: tuple[str, ...]
    facts: tuple[Fact, ...]
    properties: dict[str, Any]
    merged: dict[str, int]


def parse_relation(record: dict[str, Any]) -> Relation:
    """Check a relation file's content and collect its facts.

    Samples with an empty subject or object are left out, duplicates count once, and all objects of a subject
    are collected in one fact. Unknown keys are ignored.

    Parameters
    ----------
    record
        `{"name", "prompt_templates", "prompt_templates_zs"?, "properties"?, "samples"}`, where a sample is
        `{"subject", "object"}`.

    Raises
    ------
    KCircuitsError
        If a key is missing or a value violates the schema.
    """
    name = record.get("name")
    if not isinstance(name, str) or not name.strip():
        raise KCircuitsError(f"'name' must be text, got {name!r}")
    properties = record.get("properties", {})
    if not isinstance(properties, dict):
        raise KCircuitsError(f"'properties' must be an object, got {properties!r:.80}")
    templates = _templates(record, "prompt_templates") + _templates(record, "prompt_templates_zs")
    if not templates:
        raise KCircuitsError("'prompt_templates' is missing or empty")
    facts, merged = _facts(record)
    return Relation(name, tuple(dict.fromkeys(templates)), facts, properties, merged)


def _templates(record: dict[str, Any], key: str) -> list[str]:
    templates = record.get(key, [])
    if not isinstance(templates, list):
        raise KCircuitsError(f"{key!r} must be a list of texts, got {templates!r:.80}")
    for template in templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise KCircuitsError(
                f"a template must be text with one {{}} for the subject, got {template!r:.80}"
            )
    return templates


def _facts(record: dict[str, Any]) -> tuple[tuple[Fact, ...], dict[str, int]]:
    samples = record.get("samples")
    if not isinstance(samples, list):
        raise KCircuitsError(f"'samples' must be a list, got {samples!r:.80}")
    objects: dict[str, list[str]] = {}
    merged: Counter[str] = Counter()
    for number, sample in enumerate(samples, start=1):
        subject, answer = _sample(sample, number)
        known = objects.setdefault(subject, []) if subject and answer else None
        if known is None:
            merged["empty subject or object"] += 1
        elif answer in known:
            merged["repeated"] += 1
        else:
            if known:
                merged["further object of its subject"] += 1
            known.append(answer)
    if not objects:
        raise KCircuitsError("'samples' has no sample with a subject and an object")
    return tuple(Fact(subject, tuple(true)) for subject, true in objects.items()), dict(merged)


def _sample(sample: Any, number: int) -> tuple[str, str]:
    if not isinstance(sample, dict):
        raise KCircuitsError(f"sample {number} must be an object, got {sample!r:.80}")
    texts = ["" if sample.get(key) is None else sample[key] for key in ("subject", "object")]
    if not all(isinstance(text, str) for text in texts):
        raise KCircuitsError(f"subject and object of sample {number} must be text, got {sample!r:.80}")
    subject, answer = (text.strip() for text in texts)
    return subject, answer
