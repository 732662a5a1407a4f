"""The PyTorch decoder and the server's backends say the same of what export.py writes."""

import pathlib
import subprocess

import ddl
import export
import numpy as np
import pytest
import torch
import train
from random_models import random_config, random_model

_TOKENS = 24
# fp32 sums in another order, through up to three layers. Relative to the logits' deviation.
_REFERENCE_TOLERANCE = 2e-4
_SERVER_TOLERANCE = 1e-3


@pytest.fixture
def checkpoint_logits(build):
    """logits [T, V] of a checkpoint's folder, by one of the server's backends in fp32."""

    def logits(backend: str, folder: pathlib.Path, tokens: list[int]) -> torch.Tensor:
        program = build / "tests" / "models" / "checkpoint_logits"
        done = subprocess.run([program, backend, folder, *map(str, tokens)], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        values = np.frombuffer(done.stdout, np.float32).copy()
        return torch.from_numpy(values).view(len(tokens), -1)

    return logits


def _tokens(config: ddl.ModelConfig, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (_TOKENS,), generator=generator).tolist()


def test_random_configurations_take_every_form():
    configs = [random_config(seed) for seed in range(200)]
    expanded = [config for config in configs if config.d_v > 1 or config.is_token_compressed]
    assert {config.ddl_variant for config in configs} == set(ddl.VARIANTS)
    assert {config.ddl_value_channels for config in expanded} == set(range(1, 9))
    assert {config.ddl_state_shortconv_kernel_size for config in configs
            if config.is_token_compressed} == set(range(1, 7))
    assert {config.input_embed_shortconv_kernel_size for config in configs
            if config.expands_embedding} == set(range(1, 7))
    for option in ("ddl_beta_single_linear", "use_output_gate", "using_groupnorm", "use_qk_rmsnorm",
                   "ddl_v_sigmoid", "ddl_v_constant", "mup"):
        assert {getattr(config, option) for config in configs} == {False, True}, option
    for option in ("q_activation", "k_activation", "v_activation"):
        assert len({getattr(config, option) for config in configs}) == 5, option


@pytest.mark.parametrize("seed", range(200))
def test_random_configurations_agree_with_the_reference_backend(seed, tmp_path, checkpoint_logits):
    config = random_config(seed)
    model, tokens = random_model(config, seed), _tokens(config, seed)
    export.write_model(model, tmp_path, dtype=torch.float32)
    with torch.no_grad():
        expected = model(torch.tensor([tokens]))[0]
    deviation = expected.std().item()
    assert 0.1 < deviation < 100  # or the comparison says little
    torch.testing.assert_close(checkpoint_logits("reference", tmp_path, tokens), expected,
                               rtol=0, atol=_REFERENCE_TOLERANCE * max(1.0, deviation))


@pytest.mark.parametrize("variant", ddl.VARIANTS)
def test_the_server_computes_an_exported_model_as_pytorch_does(variant, tmp_path,
                                                               checkpoint_logits):
    recipe = train.Recipe(
        variant=variant, layers=2, hidden=64, heads=2, head_dim=32, embed_kernel=6,
        steps=1, batch=1, length=64, learning_rate=1e-3, weight_decay=0.0, warmup=0, levels=(),
        answer_weight=1.0, precision="fp32", seed=0)
    model = ddl.Decoder(train.model_config(recipe, 300))
    train.initialise(model, 1)
    model = model.bfloat16().float().eval()  # what the export's bf16 can hold
    export.write_model(model, tmp_path, eos_token_id=0)
    tokens = _tokens(model.config, 1)
    with torch.no_grad():
        expected = model(torch.tensor([tokens]))[0]
    torch.testing.assert_close(checkpoint_logits("cpu", tmp_path, tokens), expected, rtol=0,
                               atol=_SERVER_TOLERANCE)
