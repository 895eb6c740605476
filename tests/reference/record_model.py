#!/usr/bin/env python3
"""Records what PyTorch computes with small models of our shape, for tests/model/parity_test.cc.

  "$(scripts/reference_env | tail -1)" tests/reference/record_model.py

writes tests/fixtures/reference/{dense,moe,moe_softmax}.safetensors: initial weights, 20 batches,
float64 logits and gradients of the first batch, and the loss curves of 20 torch.optim.AdamW steps
in float32 and in float64. The same PyTorch gives the same files.

Experts are chosen by comparing scores, so a seed is taken at which no choice of the whole run comes
close to a tie: a float32 implementation then has to make every choice alike."""

import argparse
import json
import math
import pathlib

import torch

from twin_model import TwinModel

STEPS, ROWS, LENGTH = 20, 2, 37
# Of two scores in [0, 1]: 500 roundoffs of float32, whose loss curve strays by fewer than ten.
SAFE_MARGIN = 3e-5

DENSE = {
    "vocab_size": 83, "layers": 2, "hidden": 24, "heads": 6, "kv_heads": 2, "head_dim": 8,
    "ffn": 40, "qk_norm": True, "tie_embeddings": True, "norm_eps": 1e-6, "z_loss": 1e-3,
    "rotary": {"base": 1000.0, "style": "half_split"},
    "moe": {"experts": 0, "dense_layers": 0},
}  # fmt: skip
MOE = DENSE | {
    "layers": 3, "qk_norm": False, "tie_embeddings": False, "z_loss": 0.0,
    "moe": {
        "experts": 9, "top_k": 3, "width": 10, "shared_experts": 1, "dense_layers": 1,
        "score": "sigmoid", "normalize": True, "route_scale": 2.5, "bias_speed": 0.01,
        "sequence_loss": 0.02, "balance_loss": 0.0, "z_loss": 0.001,
    },
}  # fmt: skip
MOE_SOFTMAX = DENSE | {
    "heads": 4, "kv_heads": 4, "head_dim": 6,
    "moe": {
        "experts": 8, "top_k": 2, "width": 12, "shared_experts": 0, "dense_layers": 0,
        "score": "softmax", "normalize": False, "route_scale": 1.0, "bias_speed": 0.0,
        "sequence_loss": 0.0, "balance_loss": 0.05, "z_loss": 0.001,
    },
}  # fmt: skip


class CloseToTieError(Exception):
    pass


def optim(kind, warmup):
    return {
        "lr": 3e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1,
        "clip_norm": 1.0,
        "schedule": {"kind": kind, "warmup_steps": warmup, "final_ratio": 0.1},
    }  # fmt: skip


MODELS = {
    "dense": (DENSE, optim("cosine", 4)),
    "moe": (MOE, optim("constant", 3)),
    "moe_softmax": (MOE_SOFTMAX, optim("cosine", 0)),
}


def learning_rate(config, step):
    """optim/schedule.h, written out."""
    schedule = config["schedule"]
    warmup = schedule["warmup_steps"]
    if step < warmup:
        return config["lr"] * (step + 1) / warmup
    if schedule["kind"] == "constant":
        return config["lr"]
    low, progress = schedule["final_ratio"], (step - warmup) / (STEPS - 1 - warmup)
    return config["lr"] * (low + (1 - low) * (1 + math.cos(math.pi * progress)) / 2)


def make_batch(vocab, generator):
    """Rows of packed documents whose tokens mostly follow a rule, padded at the end of the row."""

    def below(n):
        return int(torch.randint(n, (1,), generator=generator))

    tokens, labels, positions, boundaries = [], [], [], [0]
    for _ in range(ROWS):
        left = LENGTH - below(6)  # the rest is padding
        while left > 0:
            length = min(left, 1 + below(20))
            text = [below(vocab)]
            for _ in range(length):
                text.append(below(vocab) if below(8) == 0 else (5 * text[-1] + 7) % vocab)
            tokens += text[:-1]
            labels += text[1:]
            positions += range(length)
            boundaries.append(boundaries[-1] + length)
            left -= length
        padding = -len(tokens) % LENGTH
        if padding > 0:
            tokens += [0] * padding
            labels += [-1] * padding
            positions += range(padding)
            boundaries.append(boundaries[-1] + padding)
    batch = {"tokens": tokens, "labels": labels, "positions": positions, "boundaries": boundaries}
    return {n: torch.tensor(v) for n, v in batch.items()} | {"rows": ROWS, "length": LENGTH}


def clip(parameters, limit):
    """clip_grad_norm_ divides by norm + 1e-6, which is more than double precision can overlook."""
    if parameters[0].dtype == torch.float32:
        torch.nn.utils.clip_grad_norm_(parameters, limit)
        return
    norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    for p in parameters:
        p.grad *= min(1.0, limit / norm.item())


def train(model, config, batches):
    """The curve of mean negative log likelihood (before each step); changes `model`."""
    parameters = list(model.parameters.values())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.dim() > 1],
             "weight_decay": config["weight_decay"]},
            {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0},
        ],
        betas=(config["beta1"], config["beta2"]), eps=config["eps"],
    )  # fmt: skip
    curve = []
    for step, batch in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step)
        optimizer.zero_grad()
        total, nll, report = model.loss(batch)
        if model.margin < SAFE_MARGIN:
            raise CloseToTieError
        total.backward()
        for p in parameters:  # an expert without tokens
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        clip(parameters, config["clip_norm"])
        optimizer.step()
        model.update_biases(report["expert_tokens"])
        curve.append(nll.item())
    return curve


def record(model_config, optim_config, seed):
    """The tensors of a fixture, and the smallest margin of any choice of experts. Raises
    CloseToTieError."""
    generator = torch.Generator().manual_seed(seed)
    model = TwinModel(model_config, generator)
    batches = [make_batch(model_config["vocab_size"], generator) for _ in range(STEPS)]
    exact = model.to(torch.float64)
    total, nll, report = exact.loss(batches[0])
    total.backward()
    gradients = {
        n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in exact.parameters.items()
    }
    tensors = {
        "logits": exact.forward(batches[0])[0].detach(),
        "loss.total": total.detach().view(1),
        "loss.nll": nll.detach().view(1),
    }
    weights = {n: p.detach().clone() for n, p in model.parameters.items()}
    for name, value in model.in_choir_layout(weights).items():
        tensors["weight." + name] = value
    for name, value in model.in_choir_layout(gradients).items():
        tensors["gradient." + name] = value.float()
    for layer, bias in model.biases.items():
        tensors[f"bias.{layer}"] = bias.clone()
        tensors[f"expert_tokens.{layer}"] = report["expert_tokens"][layer].int()
    for name in ("tokens", "labels", "positions"):
        tensors[name] = torch.stack([b[name] for b in batches]).int()
    for step, batch in enumerate(batches):
        tensors[f"boundaries.{step}"] = batch["boundaries"].int()
    exact = model.to(torch.float64)
    tensors["curve.f64"] = torch.tensor(train(exact, optim_config, batches), dtype=torch.float64)
    for layer, bias in exact.biases.items():
        tensors[f"final_bias.{layer}"] = bias
    rounded = model.to(torch.float32)
    tensors["curve.f32"] = torch.tensor(train(rounded, optim_config, batches), dtype=torch.float64)
    return tensors, min(exact.margin, rounded.margin)


def save(tensors, path, metadata):
    """A safetensors file; that library's own order of metadata is different in every run."""
    header, data = {"__metadata__": metadata}, b""
    for name, tensor in tensors.items():
        raw = tensor.contiguous().numpy().tobytes()
        dtype = {torch.float64: "F64", torch.float32: "F32", torch.int32: "I32"}[tensor.dtype]
        place = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": place}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = pathlib.Path(__file__).parents[1] / "fixtures" / "reference"
    parser.add_argument("--out", type=pathlib.Path, default=default, help="folder of the fixtures")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name, (model_config, optim_config) in MODELS.items():
        for seed in range(10000):
            try:
                tensors, margin = record(model_config, optim_config, seed)
                break
            except CloseToTieError:
                continue
        else:
            raise SystemExit(f"{name}: every seed comes close to a tie")
        metadata = {
            "model": json.dumps(model_config),
            "optim": json.dumps(optim_config),
            "shape": json.dumps({"steps": STEPS, "rows": ROWS, "length": LENGTH}),
            "made_by": f"tests/reference/record_model.py, torch {torch.__version__}, seed {seed}",
        }
        path = folder / f"{name}.safetensors"
        save(tensors, path, metadata)
        curve = tensors["curve.f64"]
        print(
            f"{path.name}: {path.stat().st_size} bytes, seed {seed}, margin {margin:.1e}, "
            f"loss {curve[0]:.4f} -> {curve[-1]:.4f}, float32 off by at most "
            f"{((tensors['curve.f32'] - curve) / curve).abs().max():.1e}"
        )


if __name__ == "__main__":
    main()
