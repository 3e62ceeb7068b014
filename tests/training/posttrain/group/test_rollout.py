"""Rollouts: dynamic sampling, punishments, KL in the reward, trees, and what the update makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from millbase.errors import ConfigError
from training.posttrain.group.objectives import EPSILON
from training.posttrain.group.rollout import GroupRollout
from training.posttrain.group.trainer import GroupTrainer
from training.posttrain.group.writers import TreeWriter, origins

MakeTrainer = Callable[..., GroupTrainer]
TREE = ("method=tree_grpo", "tree.step_tokens=3", "samples_per_prompt=8", "rollout_size=32")


def groups(rollout: GroupRollout, size: int = 4) -> list[list[int]]:
    return [list(range(i, i + size)) for i in range(0, len(rollout.kept), size)]


def test_advantages_are_those_of_the_group(make_trainer: MakeTrainer) -> None:
    rollout, cursor = make_trainer().maker.make(0, 0)
    assert cursor == 4 and rollout.figures["groups_sampled"] == 4 and rollout.figures["tries"] == 1
    scores = rollout.scores.view(4, 4).double()
    expected = (scores - scores.mean(1, keepdim=True)) / (scores.std(1, keepdim=True) + EPSILON)
    expected[(scores.max(1).values == scores.min(1).values)] = 0
    for row, wanted in enumerate(expected.flatten().tolist()):
        tokens = rollout.advantages[row][rollout.mask[row]]
        assert tokens.tolist() == pytest.approx([wanted] * len(tokens), rel=1e-5, abs=1e-7)
        assert not rollout.advantages[row][~rollout.mask[row]].any()


def test_dynamic_sampling_fills_the_rollout_with_useful_groups(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("dynamic.max_tries=20", "kl.coef=0", reward="easy")
    rollout, cursor = trainer.maker.make(0, 0)
    size = len(rollout.kept) // 4
    assert size == 4 and all(rollout.kept), "four groups, all trained on"
    for rows in groups(rollout):
        assert len(set(rollout.scores[rows].tolist())) > 1
        assert int(rollout.prompts[rows[0]].columns["answer"]) % 2 == 1, "even answers are always right"
    assert cursor == rollout.figures["groups_sampled"] > 4
    assert rollout.figures["tries"] > 1 and 0 < rollout.figures["zero_variance_share"] < 1
    assert rollout.numbers == sorted(rollout.numbers) and rollout.numbers[-1] < cursor
    following, later = trainer.maker.make(1, cursor)
    assert min(following.numbers) >= cursor and later > cursor, "no prompt is answered twice, none is passed over"


def test_dynamic_sampling_counts_the_groups_it_leaves_out(make_trainer: MakeTrainer) -> None:
    rollout, _ = make_trainer("dynamic.max_tries=20", reward="easy").maker.make(0, 0)
    kept = float(rollout.scores.mean())
    assert rollout.figures["reward"] > kept, "the groups left out are those that are always right"


def test_dynamic_sampling_stops_at_its_bound(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("dynamic.max_tries=3", "updates=1", reward="constant")
    before = {name: tensor.clone() for name, tensor in trainer.models.policy.model.state_dict().items()}
    rollout, cursor = trainer.maker.make(0, 0)
    assert rollout.figures["tries"] == 3 and rollout.figures["zero_variance_share"] == 1
    assert cursor == 12 and not any(rollout.kept)
    result = trainer.updater.update(rollout, 0)
    assert result.taken == 0
    for name, tensor in trainer.models.policy.model.state_dict().items():
        assert torch.equal(tensor, before[name]), "nothing to learn from, nothing learnt"


def test_a_rollout_that_stays_short_trains_on_what_there_is(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("dynamic.max_tries=1", reward="easy")

    def made(cursor: int) -> tuple[GroupRollout, list[bool]]:
        rollout, _ = trainer.maker.make(0, cursor)
        return rollout, [len(set(rollout.scores[rows].tolist())) > 1 for rows in groups(rollout)]

    rollout, useful = next((r, u) for r, u in map(made, range(0, 40, 4)) if 0 < sum(u) < 4)
    assert [all(rollout.kept[i] for i in rows) for rows in groups(rollout)] == sorted(useful, reverse=True)
    assert useful == sorted(useful, reverse=True), "useful groups come first"
    result = trainer.updater.update(rollout, 0)
    assert result.steps[0].tokens == float(rollout.mask.sum()) and result.taken == 1


def test_punishments(make_trainer: MakeTrainer) -> None:
    settings = ("overlong.cache=4", "overlong.penalty=2", "reward.missing_eos_penalty=0.5", "reward.clip=0.1")
    rollout, _ = make_trainer(*settings).maker.make(0, 0)
    for score, shaped, completion in zip(
        rollout.scores.tolist(), rollout.normalized_scores.tolist(), rollout.completions, strict=True
    ):
        length = len(completion.tokens)
        punished = 2 * max(0, length - 8) / 4 + (0 if completion.finished else 0.5)
        assert abs(score) <= 0.1 + 1e-6 and shaped == pytest.approx(score - punished, abs=1e-6)
    assert {c.finished for c in rollout.completions} == {True, False}


def test_kl_in_the_reward(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("method=rloo", "kl.coef=0.3")
    with torch.no_grad():
        for weight in trainer.models.policy.trained().values():
            weight.add_(0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(weight.numel())))
    rollout, _ = trainer.maker.make(0, 0)
    distance = ((rollout.logp - rollout.reference_logp) * rollout.mask).sum(1)
    assert float(distance.abs().max()) > 0.1
    shaped = (rollout.scores - 0.3 * distance).view(4, 4)
    expected = shaped - (shaped.sum(1, keepdim=True) - shaped) / 3
    assert rollout.advantages[:, 0].tolist() == pytest.approx(expected.flatten().tolist(), rel=1e-4, abs=1e-5)


def test_truncated_completions_can_be_masked(make_trainer: MakeTrainer) -> None:
    plain, _ = make_trainer().maker.make(0, 0)
    masked, _ = make_trainer("mask_truncated=true").maker.make(0, 0)
    finished = [completion.finished for completion in plain.completions]
    assert masked.kept == finished and not all(finished)
    rows = [i for i, done in enumerate(finished) if done]
    assert torch.allclose(masked.advantages[rows, 0], plain.advantages[rows, 0]), "their scores still count"


@pytest.mark.parametrize(
    "settings",
    [
        ("method=grpo",),
        ("method=dapo",),
        ("method=gspo",),
        ("method=rloo", "lora.rank=4"),
        TREE,
        (*TREE, "tree.credit=node", "loss.ratio=sequence_token"),
    ],
)
def test_first_pass_ratios_are_exactly_1(make_trainer: MakeTrainer, settings: tuple[str, ...]) -> None:
    trainer = make_trainer(*settings, "micro_batch_size=5", "reward.missing_eos_penalty=0.1")
    rollout, _ = trainer.maker.make(0, 0)
    (step,) = trainer.updater.update(rollout, 0).steps
    assert step.ratio == step.tokens > 0 and step.approx_kl == 0 and step.clipped == 0


@pytest.mark.parametrize("method", ["grpo", "dr_grpo", "dapo", "gspo", "rloo"])
def test_cutting_into_micro_batches_changes_nothing(make_trainer: MakeTrainer, method: str) -> None:
    gradients: list[dict[str, torch.Tensor]] = []
    for size in (16, 3):
        trainer = make_trainer(f"method={method}", f"micro_batch_size={size}", "loss.entropy_coef=0.01")
        rollout, _ = trainer.maker.make(0, 0)
        trainer.updater._accumulate(rollout, list(range(16)), 0, trainer.updater.update(rollout, 0))
        weights = trainer.models.policy.trained()
        gradients.append({name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None})
    assert gradients[0]
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-3, atol=1e-5)


def test_the_sampler_can_be_corrected(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("sampler.ratio_cap=1.5", "kl.coef=0", "loss.normalization=token")
    rollout, _ = trainer.maker.make(0, 0)
    rollout.sampler_logp = rollout.logp - 1.0  # the sampler gave every token 1/e of the policy's probability
    (corrected,) = trainer.updater.update(rollout, 0).steps
    plain = -float((rollout.advantages * rollout.mask).sum() / rollout.mask.sum())
    assert corrected.loss == pytest.approx(1.5 * plain, rel=1e-4)


def test_without_a_reference(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer("kl.measure=false", "kl.coef=0")
    assert trainer.models.reference is None
    rollout, _ = trainer.maker.make(0, 0)
    assert float(rollout.entropy[rollout.mask].min()) > 0 and not rollout.kl.any()


def tree_group(trainer: GroupTrainer, first: int = 0) -> Any:
    (answers,) = trainer.maker._answer(0, first, 1, {"sampling": 0.0, "scoring": 0.0})
    return answers


def test_branches_share_their_parents_prefix(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(*TREE, "tree.rounds=3", "tree.expansions=1", "max_new_tokens=12")
    leaves = tree_group(trainer).leaves
    assert len(leaves) == 8 and [leaf.tree for leaf in leaves] == [0, 1] * 4
    assert [leaf.parent is None for leaf in leaves] == [True, True] + [False] * 6
    for leaf in leaves[2:]:
        parent = leaves[leaf.parent]
        assert parent.tree == leaf.tree and leaf.at % 3 == 0
        assert leaf.at < len(parent.completion.tokens), "the end of a completion is no node"
        assert leaf.completion.tokens[: leaf.at] == parent.completion.tokens[: leaf.at]
        assert leaf.completion.logps[: leaf.at] == parent.completion.logps[: leaf.at]
        assert len(leaf.completion.tokens) == len(leaf.completion.logps) <= 12
    assert any(leaf.at for leaf in leaves)
    names = origins(leaves)
    for i, leaf in enumerate(leaves):
        length = len(leaf.completion.tokens)
        assert (names[i, :length] >= 0).all() and (names[i, length:] == -1).all()
        if leaf.parent is not None:
            assert (names[i, : leaf.at] == names[leaf.parent, : leaf.at]).all()
            assert not (names[i, leaf.at : length, None] == names[:i].flatten()).any(), "written anew"


def test_a_tree_is_sampled_from_the_policy(make_trainer: MakeTrainer) -> None:
    """Probabilities at the time of sampling are those that training computes for the joined completions."""
    rollout, _ = make_trainer(*TREE, "tree.rounds=3", "tree.expansions=1").maker.make(0, 0)
    torch.testing.assert_close(rollout.sampler_logp, rollout.logp, rtol=1e-4, atol=1e-4)
    assert rollout.figures["shared_tokens"] > 0.05


def test_a_tree_does_not_depend_on_its_batch(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(*TREE)
    prompts = trainer.prompts.take(0, 4)
    writer = trainer.maker.writer
    together = writer.write(7, [p.tokens for p in prompts], [0, 1, 2, 3], 4)
    apart = [writer.write(7, [p.tokens], [i], 4)[0] for i, p in enumerate(prompts)]
    for a, b in zip(together, apart, strict=True):
        assert [(x.completion.tokens, x.parent, x.at) for x in a] == [(x.completion.tokens, x.parent, x.at) for x in b]


def test_steps_end_where_the_text_says(make_trainer: MakeTrainer, tokenizer: Any) -> None:
    writer = make_trainer(*TREE[2:], "method=tree_grpo", 'tree.step="\\n"').maker.writer
    assert isinstance(writer, TreeWriter)
    tokens = tokenizer("the sum\nis 4\n\nand that", add_special_tokens=False)["input_ids"]
    wanted = [i + 1 for i, token in enumerate(tokens) if "\n" in tokenizer.decode([token])]
    assert writer.ends(tokens) == wanted and len(wanted) == 3
    with pytest.raises(ConfigError, match="occurs in no token"):
        make_trainer(*TREE[2:], "method=tree_grpo", "tree.step=no such step")


def test_leaves_of_a_tree_get_their_credit(make_trainer: MakeTrainer) -> None:
    leaf, _ = make_trainer(*TREE).maker.make(0, 0)
    node, _ = make_trainer(*TREE, "tree.credit=node").maker.make(0, 0)
    assert [c.tokens for c in leaf.completions] == [c.tokens for c in node.completions]
    per_leaf = [len(set(row[mask].tolist())) for row, mask in zip(leaf.advantages, leaf.mask, strict=True)]
    assert set(per_leaf) == {1}, "one advantage for a whole completion"
    per_node = [len(set(row[mask].tolist())) for row, mask in zip(node.advantages, node.mask, strict=True)]
    assert max(per_node) > 1, "other nodes, other advantages"


def test_branches_fit_the_models_positions(make_trainer: MakeTrainer) -> None:
    """Prompts of 40 tokens and completions of 88 fill the model's 128 positions exactly."""
    trainer = make_trainer(*TREE, "max_new_tokens=88", "rollout_size=8")
    writer = trainer.maker.writer
    assert isinstance(writer, TreeWriter)
    batches = writer._batches([100, 90, 41, 60], [28, 30, 80, 68])
    assert sorted(i for batch in batches for i in batch) == [0, 1, 2, 3]
    lengths, limits = [100, 90, 41, 60], [28, 30, 80, 68]
    for batch in batches:
        assert max(lengths[i] for i in batch) + max(limits[i] for i in batch) <= 128
