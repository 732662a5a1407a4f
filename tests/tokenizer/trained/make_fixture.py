"""Writes tokenizer.json and goldens.json with the Python library `tokenizers`.

Usage: make_fixture.py TEXT_FILE...   (the text to train on)
"""

import json
import pathlib
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent


def main():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train(
        sys.argv[1:],
        trainers.BpeTrainer(
            vocab_size=1000,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer.save(str(HERE / "tokenizer.json"))

    # The library finds special tokens in text, the server does not: leave them out.
    gpt2 = json.loads((HERE.parent / "gpt2" / "goldens.json").read_text())
    texts = [case["text"] for case in gpt2 if "<|endoftext|>" not in case["text"]]
    goldens = [{"text": text, "ids": tokenizer.encode(text).ids} for text in texts]
    (HERE / "goldens.json").write_text(json.dumps(goldens, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
