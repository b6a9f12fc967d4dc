#!/usr/bin/env python3
"""Times torch.topk of absolute values and the gather of the kept ones on a GPU, for gpu_bench.

  bench/gpu_torch_peer.py ELEMENTS KEPT REPETITIONS

Prints one line per repetition: seconds by CUDA events. Exit code 3 without torch or its GPU.
"""

import sys


def main():
    elements, kept, repetitions = (int(argument) for argument in sys.argv[1:4])
    try:
        import torch
    except ImportError:
        print("no torch in this Python", file=sys.stderr)
        return 3
    if not torch.cuda.is_available():
        print("this torch sees no GPU", file=sys.stderr)
        return 3
    torch.manual_seed(1)
    values = torch.randn(elements, device="cuda")
    for repetition in range(repetitions + 1):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        _, indices = torch.topk(values.abs(), kept, sorted=False)
        values[indices]
        end.record()
        torch.cuda.synchronize()
        if repetition > 0:  # The first one warms up.
            print(begin.elapsed_time(end) / 1000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
