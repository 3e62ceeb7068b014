"""Windows of pretraining text as training rows of supervised fine-tuning."""

from __future__ import annotations

from pathlib import Path

from millbase.artifacts import open_artifact
from millbase.errors import InputError
from training.load import tokenizer_digest
from training.posttrain.data import Row
from training.posttrain.ppo.options import PretrainMixConfig
from training.posttrain.ppo.pretrain_mix import PretrainMix
from training.posttrain.sft import ReplayConfig


def replay_rows(config: ReplayConfig, model_folder: Path, max_length: int, trained: int, seed: int) -> list[Row]:
    """Rows `{"input_ids", "labels"}` of about `share / (1 - share) * trained` trained tokens, all of them labelled.

    `trained` counts the trained tokens of the instructions. The windows are those of PPO's pretraining mix: documents
    drawn by length, a pure function of the seed. Raises InputError when the tokens were made with another tokenizer.
    """
    digest = tokenizer_digest(model_folder)
    if tokenizer_digest(open_artifact(config.tokens, kind="tokens").path / "tokenizer") != digest:
        raise InputError(
            f"replay.tokens {config.tokens!r} was made with another tokenizer than the model's, so its token ids mean "
            "other text; build it again with the model's tokenizer (llmill tokens build)"
        )
    if config.sequence_length > max_length:
        raise InputError(
            f"replay.sequence_length = {config.sequence_length} exceeds max_length = {max_length}; lower it"
        )
    mix = PretrainMix(
        PretrainMixConfig(tokens=config.tokens, batch_size=1, sequence_length=config.sequence_length),
        digest,
        max_length,
        seed,
    )
    wanted = config.share / (1 - config.share) * trained
    rows: list[Row] = []
    while wanted > 0:
        (window,) = mix.rows(len(rows))
        # the first token has nothing before it to be predicted from
        wanted -= len(window) - 1
        rows.append({"input_ids": window, "labels": window})
    return rows
