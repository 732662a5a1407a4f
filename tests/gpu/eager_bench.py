"""Times the eager PyTorch implementation of models/ddl on the GPU, forward passes in bf16.

    eager_bench.py MODELS_DIR FILE

MODELS_DIR holds the checkpoints that gpu_step_bench made; their configurations are used, their
weights are not: random ones will do for speed. It has no cache of keys and values, so a forward pass
is a prefill; there is no decode step to time.
"""

import json
import pathlib
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "models"))
import ddl  # noqa: E402  (it lies beside this script)

TOKENS = 1024


def seconds_of(model, tokens):
    times = []
    with torch.inference_mode():
        for _ in range(8):
            torch.cuda.synchronize()
            start = time.perf_counter()
            model(tokens)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
    return sorted(times[3:])[len(times[3:]) // 2]


def main():
    models_dir, file = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    rows = []
    for folder in sorted(models_dir.glob("*-bf16")):
        shape, residual, _ = folder.name.split("-")
        config = ddl.ModelConfig.from_file(folder / "config.json")
        model = ddl.Decoder(config).to(device="cuda", dtype=torch.bfloat16).eval()
        for batch in (1, 4):
            tokens = torch.randint(config.vocab_size, (batch, TOKENS), device="cuda")
            seconds = seconds_of(model, tokens)
            rows.append({"shape": shape, "residual": residual, "batch": batch, "tokens": TOKENS,
                         "tokens_per_s": batch * TOKENS / seconds})
        del model
    file.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"{len(rows)} forward passes timed")


if __name__ == "__main__":
    main()
