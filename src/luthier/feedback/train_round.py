"""One round: reward models from the opinions, the model improved by a method, all of it recorded.

models/V1/            the adaptation, as any other
models/V1/reward/     the reward model of helpfulness (and safety/), where the method needs one
best.jsonl            the best answers of all rounds of rejection sampling
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from luthier.errors import FeedbackError, did_you_mean
from luthier.feedback.best_log import BEST_FILE, add_best
from luthier.feedback.preference_data import PreferenceData, pairs_only, preference_data
from luthier.feedback.round_rewards import OpenRewards, RoundRewards
from luthier.ledger.feedback_store import FeedbackStore
from luthier.ledger.opinions import TunedModel, digest_of
from luthier.models.load import load
from luthier.models.model import Model
from luthier.records import Budget, Lineage
from luthier.task.task import Task
from luthier.techniques.base import Technique, settings_of
from luthier.techniques.preference.dpo import DPO
from luthier.techniques.preference.kto import KTO
from luthier.techniques.preference.ppo_technique import PPO
from luthier.techniques.preference.rejection_sampling import RejectionSampling
from luthier.techniques.spelling import parse_technique, parse_techniques, spell
from luthier.training.rejection import best_answers
from luthier.training.starting_prompt import starting_model

METHODS = ("rejection", "dpo", "kto", "ppo")
DRIFT_WARNED = 0.2


@dataclass(frozen=True, slots=True)
class RoundRequest:
    """What a round is asked for.

    **Fields**

    - `method`: rejection, dpo, kto or ppo, with settings if wanted: "dpo(beta=0.2)".
    - `tokens`: the budget of the method; reward models take `reward_tokens` beside it.
    - `parent`: the name of the model in the store that is improved; None: `model` is V0.
    - `name`: of the new model; None: the next number.
    - `guarded`: a task that the model had before; a gate watches its dev score.
    """

    method: str
    tokens: int
    reward_tokens: int = 400_000
    parent: str | None = None
    name: str | None = None
    seed: int = 0
    guarded: Task | None = None


def train_round(
    store: FeedbackStore, folder: Path, request: RoundRequest, *, model: Model, model_name: str,
    rewards: RoundRewards | None = None,
) -> TunedModel:  # fmt: skip
    """Train one model, save it under `folder`/models and add it to the rounds. `rewards` are those
    of `round_rewards`, where several methods share them."""
    technique = method_of(request.method)
    data = answered_as_sampled(preference_data(store), model)
    parent = _parent(store, request, model_name)
    name = request.name or next_name(store)
    if name in {m.name for m in store.models()}:
        raise FeedbackError(
            f"There is a model {name!r} already", next_step="Give another --name, or leave it out."
        )
    started = time.perf_counter()
    record: dict[str, Any] = {
        "method": request.method,
        "seed": request.seed,
        "opinions": len(data.opinions),
        "opinions_digest": digest_of(data.opinions),
        "sources": dict(data.sources),
        "ties": data.ties,
        "simulated": data.simulated,
        "parent": parent.name,
    }
    target = folder / "models" / name
    if isinstance(technique, RejectionSampling | PPO):
        rewards = rewards or round_rewards(store, request, model=model)
        with rewards.opened(watched=isinstance(technique, PPO)) as live:
            tuned = _against_reward(
                technique, rewards.model, data, live, request, best=folder / BEST_FILE, name=name
            )
            record["drift"] = _drift(live.helpful, tuned, data.task)
        record |= rewards.reports
        if record["drift"] is not None and record["drift"] > DRIFT_WARNED:
            record["warning"] = (
                f"{record['drift']:.0%} of the new answers are unlike those that the reward model "
                "learnt from: judge some of them before the next round"
            )
        tuned.save(target)
        rewards.save(target)
    else:
        assert isinstance(technique, DPO | KTO)
        task = data.task if isinstance(technique, KTO) else pairs_only(data.task)
        if isinstance(technique, KTO) and not task.dev:
            task = replace(task, dev=task.train)
        tuned = technique.learn(
            model, task.without_test(), budget=Budget(tokens=request.tokens), seed=request.seed,
            guarded=request.guarded,
        )  # fmt: skip
        tuned.save(target)
    lineage = tuned.lineage
    record["fit"] = {
        "spent_tokens": lineage.fit.spent_tokens if lineage else None,
        "notes": list(lineage.fit.notes) if lineage else [],
    }
    record["seconds"] = round(time.perf_counter() - started, 1)
    found = TunedModel(
        digest_of([name, parent.id, record["opinions_digest"], request.method, request.seed]),
        name, str(target), technique.name, parent.id, record,
    )  # fmt: skip
    store.add_model(found)
    return found


def round_rewards(store: FeedbackStore, request: RoundRequest, *, model: Model) -> RoundRewards:
    """The reward models of a round that improves `model`; none is trained yet."""
    data = answered_as_sampled(preference_data(store), model)
    start = starting_model(model, data.task, style="task")
    return RoundRewards(start, data, request.reward_tokens, request.seed)


def answered_as_sampled(data: PreferenceData, model: Model) -> PreferenceData:
    """The data with answers as long as the model gives them, so that a round changes no limit."""
    limit = model.adaptation.decoding.max_new_tokens
    task = replace(data.task, spec=replace(data.task.spec, max_new_tokens=limit))
    return replace(data, task=task)


def method_of(text: str) -> Technique:
    """The technique of a method; FeedbackError with the choices for any other."""
    name = re.split(r"[(\s]", text.strip(), maxsplit=1)[0]
    if name not in METHODS:
        raise FeedbackError(
            f"There is no method {name!r}",
            choices=METHODS,
            next_step=did_you_mean(name, METHODS) or "Name one of these.",
        )
    return parse_technique(text.strip())


def split_methods(text: str) -> list[str]:
    """The methods of a list with commas; FeedbackError for one that there is not."""
    methods = [spell(technique) for technique in parse_techniques(text)]
    if not methods:
        raise FeedbackError("No method was given", choices=METHODS, next_step="Name one.")
    for method in methods:
        method_of(method)
    return methods


def next_name(store: FeedbackStore) -> str:
    """V1, V2, …: one more than the highest there is."""
    numbers = [int(m.group(1)) for t in store.models() if (m := re.match(r"V(\d+)", t.name))]
    return f"V{max(numbers, default=0) + 1}"


def model_named(store: FeedbackStore, name: str) -> TunedModel | None:
    """The model of the rounds with that name."""
    return next((m for m in store.models() if m.name == name), None)


def existing_model(store: FeedbackStore, name: str) -> TunedModel:
    """The same; FeedbackError with the names that there are where there is none."""
    found = model_named(store, name)
    if found is None:
        names = [m.name for m in store.models()]
        raise FeedbackError(
            f"There is no model {name!r}", choices=names, next_step="Name one of these."
        )
    return found


def open_named(store: FeedbackStore, name: str, *, base: str | None = None) -> Model:
    """A model of the rounds by its name, or any model that `luthier.load` opens."""
    found = model_named(store, name)
    return load(found.folder if found is not None else name, base=base)


def _parent(store: FeedbackStore, request: RoundRequest, model_name: str) -> TunedModel:
    if request.parent is not None:
        return existing_model(store, request.parent)
    first = model_named(store, "V0")
    if first is None:
        first = TunedModel(digest_of(["V0", model_name]), "V0", model_name, "start")
        store.add_model(first)
    return first


def _against_reward(
    technique: RejectionSampling | PPO, model: Model, data: PreferenceData, rewards: OpenRewards,
    request: RoundRequest, *, best: Path, name: str,
) -> Model:  # fmt: skip
    """`rewards`: what the method works for, and what watches that it does not overdo it."""
    task = data.task.without_test()
    if isinstance(technique, PPO):
        adapted, fit = technique.improve(
            model,
            task,
            rewards.trains,
            tokens=request.tokens,
            seed=request.seed,
            watches=rewards.watches,
            guarded=request.guarded,
        )
        lineage = Lineage(
            technique.name, settings_of(technique), request.seed, fit, model.lineage,
            task.example_hashes,
        )  # fmt: skip
        return adapted.adapt(lineage=lineage)
    prompts = list({e.text: e for e in task.train}.values())
    found, spent = best_answers(
        model, prompts, rewards.trains, samples=technique.samples,
        temperature=technique.temperature, seed=request.seed,
    )  # fmt: skip
    if not found:
        raise FeedbackError(
            "Not one sampled answer ended by itself",
            next_step="Tune the model on good answers first, or raise its max_new_tokens.",
        )
    kept = add_best(best, found, round_name=name)
    left = max(request.tokens - spent, request.tokens // 4)
    dev = tuple(e for e in task.dev if e.target) or tuple(kept[:16])
    return technique.tune(
        model, replace(task, dev=dev), kept, tokens=left, seed=request.seed,
        guarded=request.guarded,
    )  # fmt: skip


def _drift(live: Any, model: Model, task: Task) -> float | None:
    """How many answers of the new model are unlike what its reward model learnt from."""
    prompts = list({e.text: e for e in task.dev or task.train}.values())[:32]
    if not prompts:
        return None
    answers = [a.text for a in model.answer(prompts)]
    return float(live.drift(answers, live(prompts, answers)))
