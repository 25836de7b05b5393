"""405 billion and a trillion parameters on this machine: planned, and simulated on a cluster.

Each case runs in a process of its own, of which the seconds and the peak memory are printed:

    python benchmarks/scale.py               # all of them
    python benchmarks/scale.py llama-1024    # one
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

CASES = {
    "llama-1024": ("llama_405b", "dp=128,tp=8", 1024, 17),
    "llama-16384": ("llama_405b", "dp=2048,tp=8", 16384, 9999),
    "llama-hsdp-16384": ("llama_405b", "dp_replicate=16,dp=128,tp=8", 16384, 9999),
    "moe-1024": ("moe_1t", "dp=16,ep=64", 1024, 17),
    "moe-16384": ("moe_1t", "dp_replicate=16,dp=16,ep=64", 16384, 9999),
    "moe-tp-16384": ("moe_1t", "dp=64,ep=32,tp=8", 16384, 9999),
}
LIMIT = 4 << 30  # bytes of memory, at the peak


def llama_405b():
    """Llama 3.1 405B, in bfloat16."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=16384,
        num_hidden_layers=126,
        intermediate_size=53248,
        num_attention_heads=128,
        num_key_value_heads=8,
        vocab_size=128256,
        max_position_embeddings=131072,
    )
    return _in_bfloat16(LlamaForCausalLM, config)


def moe_1t():
    """A mixture of experts of the shape of Kimi K2: 384 experts in each of 60 layers."""
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

    config = DeepseekV3Config(
        hidden_size=7168,
        num_hidden_layers=61,
        intermediate_size=18432,
        moe_intermediate_size=2048,
        n_routed_experts=384,
        n_shared_experts=1,
        num_experts_per_tok=8,
        n_group=1,
        topk_group=1,
        first_k_dense_replace=1,
        num_attention_heads=64,
        num_key_value_heads=64,
        q_lora_rank=1536,
        kv_lora_rank=512,
        vocab_size=163840,
    )
    return _in_bfloat16(DeepseekV3ForCausalLM, config)


def _in_bfloat16(model, config):
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        return model(config)
    finally:
        torch.set_default_dtype(before)


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def run(name: str) -> None:
    factory, mesh, world, rank = CASES[name]
    start = time.perf_counter()
    import initium
    from initium.simulation import simulate

    __import__("transformers")
    loaded = time.perf_counter()
    model = initium.build(globals()[factory], seed=0, device="meta")
    planned = time.perf_counter()
    parameters = sum(tensor.numel() for tensor in model.parameters())
    lines, planned_peak = len(initium.plan_of(model)), peak()
    del model
    found = simulate(globals()[factory], world=world, mesh=mesh, rank=rank, draw=3)
    done = time.perf_counter()
    print(found)
    print(
        f"{name}: {parameters:,} parameters, {lines:,} lines; imports {loaded - start:.1f} s; "
        f"planned in {planned - loaded:.2f} s, peak {planned_peak / 2**30:.2f} GiB; "
        f"simulated in {done - planned:.1f} s, peak {peak() / 2**30:.2f} GiB"
    )
    assert peak() < LIMIT, "more than 4 GiB"


def main() -> None:
    names = sys.argv[1:]
    if len(names) == 1:
        return run(names[0])
    for name in names or CASES:
        subprocess.run([sys.executable, __file__, name], check=True, env=dict(os.environ))
        print(flush=True)
    return None


if __name__ == "__main__":
    main()
