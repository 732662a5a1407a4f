"""Shows which sublayers of a DDL model rewrite its state: β over the tokens of a text.

β near 0 skips, near 1 replaces what the state holds along k, near 2 reflects.

    python rewrites.py 127.0.0.1:50051 "Anna is in the barn. Anna went to the mill."
"""

import sys

import numpy as np

import deltaserve

address, text = sys.argv[1:]

with deltaserve.Client(address, timeout=60.0) as client:
    trace = client.score(text, trace=True).trace
    assert trace is not None
    discrepancy = np.linalg.norm(trace.v - trace.proj, axis=-1)  # what a rewrite finds amiss
    print("layer  sublayer   mean β   max β   mean ‖v − kᵀX‖")
    for layer, sublayer in np.ndindex(trace.beta.shape[:2]):
        beta = trace.beta[layer, sublayer]
        print(f"{layer:5}  {('attention', 'mlp')[sublayer]:9} {beta.mean():7.3f} {beta.max():7.3f}"
              f" {discrepancy[layer, sublayer].mean():16.3f}")
