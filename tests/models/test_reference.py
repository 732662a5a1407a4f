"""The PyTorch decoder against the golden fixtures, at FORMAT.md's tolerances (section 6)."""

import json

import ddl
import pytest
import torch
from ddl import Decoder, ModelConfig
from safetensors.torch import load_file

_LOGITS, _TRACE, _LOGLIK = 2e-4, 1e-4, 1e-3

# Entries of golden.safetensors whose leading axes are the sublayers in order.
_TRACED = ("x_in", "sub_out", "k", "state", "beta", "proj", "v")


def _forward(model, tokens):
    trace = ddl.Trace()
    with torch.no_grad():
        logits = model(torch.tensor([tokens]), trace=trace)[0]
    return logits, trace


def _assert_close(actual, expected, tolerance, what):
    assert actual.numel() == expected.numel(), what
    error = (actual.reshape(expected.shape) - expected).abs().max().item()
    assert error <= tolerance, f"{what}: off by {error:.2e}"


def test_matches_golden_fixture(fixture_folder):
    model = ddl.load(fixture_folder)
    expected = load_file(str(fixture_folder / "golden.safetensors"))
    golden = json.loads((fixture_folder / "golden.json").read_text())
    for prompt in golden["prompts"]:
        name, tokens = prompt["name"], prompt["tokens"]
        logits, trace = _forward(model, tokens)
        _assert_close(logits, expected[f"{name}.logits"], _LOGITS, f"{name}.logits")
        _assert_close(trace["final_norm"], expected[f"{name}.final_norm"], _TRACE, "final_norm")
        for key in _TRACED:
            if f"{name}.{key}" in expected:
                _assert_close(trace[key], expected[f"{name}.{key}"], _TRACE, f"{name}.{key}")

        logprobs = logits.log_softmax(-1)[:-1].gather(1, torch.tensor(tokens[1:]).unsqueeze(1))
        assert logprobs.sum().item() == pytest.approx(prompt["loglik"], abs=_LOGLIK)


def test_continues_greedily_as_the_fixture(fixture_folder):
    model = ddl.load(fixture_folder)
    golden = json.loads((fixture_folder / "golden.json").read_text())
    prompt = min(golden["prompts"], key=lambda p: p["length"])
    assert model.generate(prompt["tokens"], len(prompt["greedy"])) == prompt["greedy"]


def _config(**changes):
    values = dict(ddl_variant="ddl_cc_ec", vocab_size=30, hidden_size=12, num_hidden_layers=2,
                  num_attention_heads=2, head_dim=6)
    return ModelConfig(**{**values, **changes})


def _randomised(config, seed=0):
    torch.manual_seed(seed)
    model = Decoder(config).double()
    for parameter in model.parameters():
        parameter.data.normal_(0, 0.5)
    return model


@pytest.mark.parametrize("options", [
    dict(use_k_shift=True),
    dict(using_groupnorm=True, use_output_gate=True),
    dict(use_output_gate=True, q_activation="elu+1", k_activation="silu", v_activation="relu"),
    dict(rope_ratio=0.5, ddl_beta_single_linear=False, ddl_beta_hidden_size=5),
    dict(ddl_v_sigmoid=False, ddl_value_channels=3),
    dict(ddl_v_constant=True, use_qk_rmsnorm=False),
    dict(ddl_variant="ddl_tc_ec", ddl_state_shortconv_kernel_size=6, ddl_value_channels=1),
    dict(ddl_variant="additive", intermediate_size=7, mup=True),
])
def test_a_prefix_gives_the_same_logits(options):
    model = _randomised(_config(**options))
    tokens = torch.randint(30, (1, 9))
    full = model(tokens)
    for length in (1, 2, 5):
        torch.testing.assert_close(model(tokens[:, :length]), full[:, :length])


def test_v_shift_leaves_a_single_token_unscaled():
    model = _randomised(_config(use_v_shift=True))
    tokens = torch.randint(30, (1, 4))
    assert not torch.allclose(model(tokens[:, :1]), model(tokens)[:, :1])
    torch.testing.assert_close(model(tokens[:, :2]), model(tokens)[:, :2])


def test_segments_do_not_attend_to_each_other():
    # Without the norm after RoPE, attention sees relative positions only.
    model = _randomised(_config(ddl_variant="ddl_cc", use_qk_rmsnorm=False))
    first, second = torch.randint(30, (1, 4)), torch.randint(30, (1, 4))
    together = model(torch.cat([first, second], 1), torch.tensor([[0] * 4 + [1] * 4]))
    torch.testing.assert_close(together[:, :4], model(first))
    torch.testing.assert_close(together[:, 4:], model(second))


def test_channel_compressor_equals_its_unfolded_definition():
    model = _randomised(_config(ddl_variant="ddl_cc", ddl_value_channels=4))
    compress = model.transformer["h"][0].compress
    X = torch.randn(1, 3, 4, 12, dtype=torch.double)
    padded = torch.nn.functional.pad(X, (0, 0, 1, 2))  # p = 1 on the left of the value axis
    y = sum(compress.weight[:, s] * padded[:, :, s:s + 4] for s in range(4))
    expected = (y * compress.read.view(4, 1)).sum(-2)
    torch.testing.assert_close(compress(X), expected)


@pytest.mark.parametrize("values, named", [
    (dict(ddl_variant="ddl_xx"), "ddl_xx"),
    (dict(q_activation="gelu"), "q_activation"),
    (dict(head_dim=0), "head_dim"),
    (dict(ddl_state_shortconv_kernel_size=3), "ddl_state_shortconv_kernel_size"),
])
def test_a_bad_configuration_is_refused_by_name(values, named):
    with pytest.raises(ValueError, match=named):
        _config(**values)


def test_an_unknown_key_is_refused_by_name():
    with pytest.raises(ValueError, match="n_experts"):
        ModelConfig.from_dict(dict(ddl_variant="additive", vocab_size=3, hidden_size=4,
                                   num_hidden_layers=1, num_attention_heads=1, head_dim=4,
                                   n_experts=8))
