#!/usr/bin/env python3
"""Records what torch.optim.Muon computes, for tests/optim/muon_reference_test.cc.

  "$(scripts/reference_env | tail -1)" tests/reference/record_muon.py

writes tests/fixtures/reference/muon.safetensors: initial values and 50 gradients of matrices of
several shapes, and their values after every 10th of 50 steps, in float64. torch's Newton-Schulz
iteration rounds to bfloat16; here the name stands for float64 while it runs, so that the rule is
compared and not a rounding. Its five steps and coefficients are settings of ours. The same PyTorch
gives the same file."""

import json
import pathlib
from unittest import mock

import torch
from safetensors.torch import save_file

STEPS, KEPT = 50, 10
SHAPES = {"square": (6, 6), "wide": (4, 9), "tall": (11, 5), "row": (1, 7)}
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
OURS = {
    "kind": "muon", "lr": 0.02, "weight_decay": 0.1, "clip_norm": None,
    "muon": {
        "momentum": 0.95, "nesterov": True, "scale": 0.2, "steps": 5, "final_steps": 0,
        "coefficients": list(COEFFICIENTS),
    },
}  # fmt: skip
RUNS = {
    "nesterov": OURS,
    "plain": OURS | {"muon": OURS["muon"] | {"nesterov": False, "momentum": 0.9}},
}


def train(values, gradients, run):
    parameters = {name: torch.nn.Parameter(v.clone()) for name, v in values.items()}
    optimizer = torch.optim.Muon(
        parameters.values(), lr=run["lr"], weight_decay=run["weight_decay"],
        momentum=run["muon"]["momentum"], nesterov=run["muon"]["nesterov"],
        ns_coefficients=COEFFICIENTS, ns_steps=run["muon"]["steps"],
        adjust_lr_fn="match_rms_adamw",
    )  # fmt: skip
    rows = {name: [] for name in values}
    for step in range(STEPS):
        for name, p in parameters.items():
            p.grad = gradients[name][step].clone()
        with mock.patch.object(torch, "bfloat16", torch.float64):
            optimizer.step()
        if (step + 1) % KEPT == 0:
            for name, p in parameters.items():
                rows[name].append(p.detach().clone())
    return {name: torch.stack(r) for name, r in rows.items()}


def main():
    generator = torch.Generator().manual_seed(11)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    values = {name: normal(*shape) for name, shape in SHAPES.items()}
    gradients = {name: normal(STEPS, *shape) for name, shape in SHAPES.items()}
    tensors = {f"value.{name}": v for name, v in values.items()}
    tensors |= {f"gradient.{name}": g for name, g in gradients.items()}
    metadata = {"numbers": json.dumps({"steps": STEPS, "kept": KEPT}), "torch": torch.__version__}
    for name, run in RUNS.items():
        # Read as YAML, where "auto" in quotes is text.
        metadata[name] = json.dumps(run).replace("null", "auto")
        for parameter, rows in train(values, gradients, run).items():
            tensors[f"{name}.{parameter}"] = rows
    metadata["runs"] = json.dumps(list(RUNS))
    metadata["parameters"] = json.dumps(list(SHAPES))
    folder = pathlib.Path(__file__).parent.parent / "fixtures" / "reference"
    save_file({n: t.contiguous() for n, t in tensors.items()},
              folder / "muon.safetensors", metadata)  # fmt: skip


if __name__ == "__main__":
    main()
