"""Continues a prompt, first at once, then as it comes.

    python generate.py 127.0.0.1:50051 "Once upon a time"
"""

import sys

import deltaserve

address, prompt = sys.argv[1:]

with deltaserve.Client(address, timeout=60.0) as client:
    generation = client.generate(prompt, temperature=0, max_tokens=24, stop=".", include_stop=True)
    print(f"{prompt}{generation.text}  [{generation.finish_reason}]")
    print(f"{generation.usage.completion_tokens} tokens took "
          f"{generation.usage.device_seconds * 1e3:.1f} ms of the device")

    with client.generate_stream(prompt, seed=1, max_tokens=24) as stream:
        for chunk in stream:
            print(chunk.text, end="", flush=True)
    print()
