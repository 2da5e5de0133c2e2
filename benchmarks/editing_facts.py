"""Facts of the bundled relations that the demo model knows, each with another object of its relation."""

from __future__ import annotations

import random
from collections.abc import Sequence

import kcircuits
from kcircuits.data.relations import known_prompts
from kcircuits.editing.request import EditRequest, Question
from kcircuits.evaluation import answer_ranks

FACTUAL = ("country-language", "country-capital", "company-product", "landmark-city")
RELATIONS = (*FACTUAL, "adjective-antonym", "adjective-comparative")
NEIGHBOURS = 5
SEED = 0


def editable_facts(model: kcircuits.Model, relations: Sequence[str] = RELATIONS) -> list[EditRequest]:
    """All known facts with a new object, their other templates as paraphrases, and known neighbours;
    shuffled.

    A fact is known if the model ranks its object first. Objects are single tokens.
    """
    draw = random.Random(SEED)
    found = []
    for name in relations:
        relation = kcircuits.load_relation(name)
        spec = model.spec
        made = kcircuits.relation_prompts(relation, model.tokenizer, spec.vocab_size, spec.max_positions)
        known = known_prompts(made.prompts, answer_ranks(model, made.prompts), 1)
        texts = {prompt.text for prompt in known}
        template, *others = relation.templates
        facts = [fact for fact in relation.facts if template.format(fact.subject) in texts]
        for fact in facts:
            targets = sorted({other.objects[0] for other in facts} - set(fact.objects))
            neighbours = [other for other in facts if other is not fact]
            found.append(
                EditRequest(
                    fact.subject,
                    template.format(fact.subject),
                    draw.choice(targets),
                    fact.objects[0],
                    tuple(each.format(fact.subject) for each in others),
                    tuple(
                        Question(template.format(other.subject), other.objects[0])
                        for other in draw.sample(neighbours, min(NEIGHBOURS, len(neighbours)))
                    ),
                )
            )
    draw.shuffle(found)
    return found
