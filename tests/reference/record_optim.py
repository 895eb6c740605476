#!/usr/bin/env python3
"""Records what torch.optim computes, for tests/optim/reference_test.cc.

  "$(scripts/reference_env | tail -1)" tests/reference/record_optim.py

writes tests/fixtures/reference/optim.safetensors: initial values and 50 gradients of a few small
parameters, their values after every 10th of 50 steps of torch.optim.AdamW and SGD with settings by
parameter, decay and clipping, and the factors of torch.optim.lr_scheduler over 50 steps; all in
float64. Each run's name is that of a config section in the metadata. The same PyTorch gives the
same file."""

import json
import pathlib

import torch
from safetensors.torch import save_file
from torch.optim import lr_scheduler

STEPS, KEPT = 50, 10
SHAPES = {"layers.0.ffn": (3, 5), "layers.1.ffn": (2, 9), "embedding": (4, 3), "norm": (7,)}

ADAMW = {
    "kind": "adamw", "lr": 0.02, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1,
    "clip_norm": None,
}  # fmt: skip
SGD = {"kind": "sgd", "lr": 0.01, "beta1": 0.9, "weight_decay": 0.0, "clip_norm": None}
RUNS = {
    "adamw": ADAMW,
    "adamw_clipped": ADAMW | {"clip_norm": 4.0},
    "adamw_clipped_values": ADAMW | {"clip_value": 0.7},
    "adamw_groups": ADAMW
    | {
        "clip_norm": 3.0,
        "no_decay": ["embed*"],
        "groups": [
            {"pattern": "layers.0.*", "lr_scale": 0.5, "weight_decay": 0.3, "clip_norm": 2.0},
            {"pattern": "layers.*", "beta1": 0.8, "beta2": 0.99, "eps": 1e-4},
            {"pattern": "norm", "weight_decay": 0.05},
        ],
    },
    "adamw_smallest_eps": ADAMW | {"eps": 1e-20, "gradient_scale": 1e-18},
    "sgd": SGD,
    "sgd_nesterov_clipped": SGD | {"nesterov": True, "clip_norm": 4.0},
}


def matches(name, pattern):
    head, star, tail = pattern.partition("*")
    return name == pattern if not star else name.startswith(head) and name.endswith(tail)


def draw():
    """Values and gradients; a gradient's size changes over the steps."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    values = {name: normal(*shape) for name, shape in SHAPES.items()}
    sizes = torch.exp(normal(STEPS) / 2)
    gradients = {
        name: normal(STEPS, *shape) * sizes.view(-1, *[1] * len(shape))
        for name, shape in SHAPES.items()
    }
    return values, gradients


def settings_of(name, run):
    """What our config says about a parameter, in torch's words."""
    matrix = len(SHAPES[name]) > 1
    excluded = any(matches(name, pattern) for pattern in run.get("no_decay", []))
    s = {
        "lr": run["lr"],
        "weight_decay": run["weight_decay"] if matrix and not excluded else 0.0,
        "beta1": run["beta1"],
        "beta2": run.get("beta2"),
        "eps": run.get("eps"),
        "clip_group": None,
    }
    for i, group in enumerate(run.get("groups", [])):
        if not matches(name, group["pattern"]):
            continue
        s["lr"] = run["lr"] * group.get("lr_scale", 1.0)
        for key in ("weight_decay", "beta1", "beta2", "eps"):
            s[key] = group.get(key, s[key])
        if "clip_norm" in group:
            s["clip_group"] = i
        break
    return s


def make_optimizer(parameters, run):
    groups = []
    for name, p in parameters.items():
        s = settings_of(name, run)
        group = {"params": [p], "lr": s["lr"], "weight_decay": s["weight_decay"]}
        if run["kind"] == "adamw":
            groups.append(group | {"betas": (s["beta1"], s["beta2"]), "eps": s["eps"]})
        else:
            groups.append(group | {"momentum": s["beta1"], "nesterov": run.get("nesterov", False)})
    return torch.optim.AdamW(groups) if run["kind"] == "adamw" else torch.optim.SGD(groups)


def clip(parameters, run):
    """torch.nn.utils.clip_grad_norm_, but for the 1e-6 that it adds to the norm."""
    clipped = {}
    for name, p in parameters.items():
        clipped.setdefault(settings_of(name, run)["clip_group"], []).append(p)
    for group, members in clipped.items():
        limit = run["clip_norm"] if group is None else run["groups"][group]["clip_norm"]
        if limit is None:
            continue
        norm = torch.nn.utils.get_total_norm([p.grad for p in members])
        for p in members:
            p.grad *= min(1.0, limit / norm)
    if "clip_value" in run:
        torch.nn.utils.clip_grad_value_(list(parameters.values()), run["clip_value"])


def train(values, gradients, run):
    parameters = {n: torch.nn.Parameter(v.clone()) for n, v in values.items()}
    optimizer = make_optimizer(parameters, run)
    kept = {name: [] for name in values}
    for step in range(STEPS):
        for name, p in parameters.items():
            p.grad = gradients[name][step] * run.get("gradient_scale", 1.0)
        clip(parameters, run)
        optimizer.step()
        if (step + 1) % KEPT == 0:
            for name, p in parameters.items():
                kept[name].append(p.detach().clone())
    return {name: torch.stack(rows) for name, rows in kept.items()}


WARMUP = 8
# Our config of a schedule, and the same as torch's chain of schedulers with its milestones.
SCHEDULES = {
    "constant": ({"kind": "constant"}, []),
    "cosine": (
        {"kind": "cosine", "final_ratio": 0.1},
        [(0, lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS - 1, eta_min=0.1))],
    ),
    "warmup_cosine": (
        {"kind": "cosine", "warmup_steps": WARMUP, "final_ratio": 0.05},
        [
            (0, lambda o: lr_scheduler.LinearLR(o, 1 / WARMUP, 1, WARMUP - 1)),
            (WARMUP, lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS - 1 - WARMUP, 0.05)),
        ],
    ),
    "linear": (
        {"kind": "linear", "final_ratio": 0.2},
        [(0, lambda o: lr_scheduler.LinearLR(o, 1, 0.2, STEPS - 1))],
    ),
    "restarts": (
        {"kind": "cosine_restarts", "period": 7, "period_factor": 2, "final_ratio": 0.1},
        [(0, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7, 2, eta_min=0.1))],
    ),
    "warmup_restarts": (
        {
            "kind": "cosine_restarts", "warmup_steps": WARMUP, "period": 9, "final_ratio": 0.0,
        },  # fmt: skip
        [
            (0, lambda o: lr_scheduler.LinearLR(o, 1 / WARMUP, 1, WARMUP - 1)),
            (WARMUP, lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 9)),
        ],
    ),
    "wsd": (
        {"kind": "wsd", "warmup_steps": WARMUP, "decay_fraction": 0.2, "final_ratio": 0.3},
        [
            (0, lambda o: lr_scheduler.LinearLR(o, 1 / WARMUP, 1, WARMUP - 1)),
            (WARMUP, lambda o: lr_scheduler.ConstantLR(o, 1)),
            (STEPS - 11, lambda o: lr_scheduler.LinearLR(o, 1, 0.3, 10)),
        ],
    ),
    "milestones": (
        {"kind": "step", "milestones": [0.5, 0.8], "factors": [0.3, 0.09]},
        [(0, lambda o: lr_scheduler.MultiStepLR(o, [25, 40], gamma=0.3))],
    ),
    "inverse_sqrt": (
        {"kind": "inverse_sqrt", "warmup_steps": WARMUP},
        [
            (0, lambda o: lr_scheduler.LinearLR(o, 1 / WARMUP, 1, WARMUP - 1)),
            (WARMUP, lambda o: lr_scheduler.LambdaLR(
                o, lambda step: (WARMUP / (step + WARMUP + 1)) ** 0.5)),
        ],
    ),  # fmt: skip
}


def factors(chain):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    parts = [make(optimizer) for _, make in chain]
    scheduler = None
    if len(parts) == 1:
        scheduler = parts[0]
    elif parts:
        scheduler = lr_scheduler.SequentialLR(optimizer, parts, [at for at, _ in chain[1:]])
    values = []
    for _ in range(STEPS):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    return torch.tensor(values, dtype=torch.float64)


def main():
    values, gradients = draw()
    tensors = {f"value.{name}": v for name, v in values.items()}
    tensors |= {f"gradient.{name}": g for name, g in gradients.items()}
    metadata = {"numbers": json.dumps({"steps": STEPS, "kept": KEPT}), "torch": torch.__version__}
    for name, run in RUNS.items():
        config = {k: v for k, v in run.items() if k != "gradient_scale" and v is not None}
        config |= {"clip_norm": "auto"} if run["clip_norm"] is None else {}
        # Read as YAML, where "auto" in quotes is text.
        metadata[name] = json.dumps(config).replace('"auto"', "auto")
        tensors[f"{name}.gradient_scale"] = torch.tensor(
            [run.get("gradient_scale", 1.0)], dtype=torch.float64
        )
        for parameter, rows in train(values, gradients, run).items():
            tensors[f"{name}.{parameter}"] = rows
    for name, (config, chain) in SCHEDULES.items():
        metadata[f"schedule.{name}"] = json.dumps(config)
        tensors[f"schedule.{name}"] = factors(chain)
    metadata["runs"] = json.dumps(list(RUNS))
    metadata["schedules"] = json.dumps(list(SCHEDULES))
    metadata["parameters"] = json.dumps(list(SHAPES))
    folder = pathlib.Path(__file__).parent.parent / "fixtures" / "reference"
    save_file({n: t.contiguous() for n, t in tensors.items()},
              folder / "optim.safetensors", metadata)  # fmt: skip


if __name__ == "__main__":
    main()
