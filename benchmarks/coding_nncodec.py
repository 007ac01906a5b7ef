"""Code an .npz of integers with NNCodec and print one line of JSON.

Run by benchmarks/coding.py in another interpreter, which has numpy and nncodec and nothing of ours. Integers are given
as they are: NNCodec rounds nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from pathlib import Path

import numpy as np
from nncodec.nn import decode, encode

OPTIONS = {"use_dq": False, "param_opt": True, "verbose": False}


def main(path: str, repeats: int) -> None:
    """Bytes, the fewest CPU seconds of all rounds, and whether decoding gave the same integers."""
    with np.load(path) as arrays:
        layers = {name: arrays[name].astype(np.int32) for name in arrays.files}
    options = OPTIONS | {"results": str(Path(path).parent)}  # it leaves a copy of the bytes there
    encode_s, decode_s = [], []
    with contextlib.redirect_stdout(io.StringIO()):
        for _ in range(repeats):
            start = time.process_time()
            data = encode(layers, dict(options))
            middle = time.process_time()
            found = decode(data)
            encode_s.append(middle - start)
            decode_s.append(time.process_time() - middle)
    equal = all(np.array_equal(found[name], layer) for name, layer in layers.items())
    print(json.dumps({"size": len(data), "encode_s": min(encode_s), "decode_s": min(decode_s), "equal": equal}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
