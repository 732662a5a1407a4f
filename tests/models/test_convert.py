"""Conversion of checkpoints in the form the authors' code saves them."""

import json
import pathlib

import convert
import ddl
import pytest
import torch
from safetensors.torch import load_file, save_file


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a fixture's model in the authors' form: no ddl_variant, perhaps a duplicate head."""

    def write(fixture: pathlib.Path, *, pickled=True, duplicate_head=True, edit=None):
        folder = tmp_path / "checkpoint"
        folder.mkdir()
        config = json.loads((fixture / "config.json").read_text())
        del config["ddl_variant"]
        config.update(torch_dtype="float32", transformers_version="4.40.0")
        weights = load_file(str(fixture / "model.safetensors"))
        if duplicate_head:
            weights["lm_head.weight"] = weights["transformer.wte.weight"].clone()
        if edit is not None:
            edit(config, weights)
        (folder / "config.json").write_text(json.dumps(config))
        if pickled:
            torch.save(weights, folder / "pytorch_model.bin")
        else:
            save_file(weights, str(folder / "model.safetensors"))
        return folder

    return write


@pytest.mark.parametrize("pickled, duplicate_head", [(True, True), (False, False)])
def test_every_kind_converts(fixture_folder, checkpoint, tmp_path, pickled, duplicate_head):
    source = checkpoint(fixture_folder, pickled=pickled, duplicate_head=duplicate_head)
    convert.convert(source, tmp_path / "out", torch.float32)
    original, converted = ddl.load(fixture_folder), ddl.load(tmp_path / "out")
    assert converted.config == original.config
    tokens = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(converted(tokens), original(tokens), rtol=0, atol=0)


def test_bf16_is_the_default(golden, checkpoint, tmp_path):
    convert.convert(checkpoint(golden / "ddl_cc"), tmp_path / "out")
    weights = load_file(str(tmp_path / "out" / "model.safetensors"))
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert "lm_head.weight" not in weights


def _untie(config, weights):
    weights["lm_head.weight"] += 1


def _add_tensor(config, weights):
    weights["transformer.h.0.moe.weight"] = torch.zeros(2)


def _drop_tensor(config, weights):
    del weights["transformer.h.1.mlp.c_fc1.weight"]


def _add_key(config, weights):
    config["num_experts"] = 4


def _change_width(config, weights):
    config["head_dim"] += 2


def _strip_readout(config, weights):
    del weights["readout.weight"]


@pytest.mark.parametrize("edit, named", [
    (_untie, "lm_head.weight"),
    (_add_tensor, "unknown transformer.h.0.moe.weight"),
    (_drop_tensor, "missing transformer.h.1.mlp.c_fc1.weight"),
    (_add_key, "num_experts"),
    (_change_width, "transformer.h.0.attn.c_q.weight"),
    (_strip_readout, "readout.weight"),
])
def test_what_it_does_not_understand_is_refused_by_name(edit, named, golden, checkpoint, tmp_path):
    source = checkpoint(golden / "ddl_cc_ec", edit=edit)
    with pytest.raises(convert.ConversionError, match=named):
        convert.convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


class _Payload:
    def __reduce__(self):
        return (pathlib.Path.touch, (pathlib.Path("executed"),))


def test_a_pickle_with_code_in_it_is_refused(golden, checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = checkpoint(golden / "additive")
    torch.save({"transformer.wte.weight": _Payload()}, source / "pytorch_model.bin")
    with pytest.raises(convert.ConversionError, match="pytorch_model.bin"):
        convert.convert(source, tmp_path / "out")
    assert not (tmp_path / "executed").exists()


def test_a_folder_without_weights_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(convert.ConversionError, match="pytorch_model.bin"):
        convert.convert(tmp_path, tmp_path / "out")
