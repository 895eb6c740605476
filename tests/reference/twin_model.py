"""The architecture of model/transformer.h in plain PyTorch, written from the papers: one weight per
projection, attention with an explicit mask, a loop over experts. Slow, and easy to check by eye."""

import math

import torch


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def rotate(x, positions, base):
    """Rotary embedding of [T, heads, D]; dims i and i + D/2 turn together."""
    half = x.shape[-1] // 2
    index = torch.arange(half, dtype=torch.float64)
    angle = positions.double()[:, None] * base ** (-2 * index / x.shape[-1])
    cos, sin = angle.cos().to(x.dtype)[:, None], angle.sin().to(x.dtype)[:, None]
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def document_mask(boundaries):
    """[T, T]: query t may see key s of its own document, s <= t."""
    lengths = boundaries[1:] - boundaries[:-1]
    document = torch.repeat_interleave(torch.arange(len(lengths)), lengths.long())
    same = document[:, None] == document[None, :]
    return same & torch.ones_like(same).tril()


def swiglu(x, gate, up, down):
    return (torch.nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T


class TwinModel:
    """`config` is the model section of a Choir config with every value written out."""

    def __init__(self, config, generator):
        self.config = config
        self.parameters = {}  # name -> leaf tensor
        self.biases = {}  # layer -> balancing bias
        self.margin = math.inf  # the closest that any choice of experts came to a tie
        self._generator = generator
        self._make()

    def _matrix(self, name, *shape):
        value = 0.15 * torch.randn(shape, generator=self._generator, dtype=torch.float32)
        self.parameters[name] = value.requires_grad_()

    def _norm(self, name, size):
        value = 1 + 0.1 * torch.randn(size, generator=self._generator, dtype=torch.float32)
        self.parameters[name] = value.requires_grad_()

    def _make(self):
        c = self.config
        hidden, dim, moe = c["hidden"], c["head_dim"], c["moe"]
        self._matrix("embedding", c["vocab_size"], hidden)
        for i in range(c["layers"]):
            p = f"layers.{i}."
            self._norm(p + "attention_norm", hidden)
            self._norm(p + "ffn_norm", hidden)
            self._matrix(p + "q", c["heads"] * dim, hidden)
            self._matrix(p + "k", c["kv_heads"] * dim, hidden)
            self._matrix(p + "v", c["kv_heads"] * dim, hidden)
            self._matrix(p + "o", hidden, c["heads"] * dim)
            if c["qk_norm"]:
                self._norm(p + "q_norm", dim)
                self._norm(p + "k_norm", dim)
            if not self.is_moe(i):
                self._feed_forward(p + "ffn.", c["ffn"])
                continue
            self._matrix(p + "router", moe["experts"], hidden)
            for e in range(moe["experts"]):
                self._feed_forward(f"{p}experts.{e}.", moe["width"])
            if moe["shared_experts"] > 0:
                self._feed_forward(p + "shared.", moe["shared_experts"] * moe["width"])
            if moe["bias_speed"] > 0:
                self.biases[i] = 0.05 * torch.randn(moe["experts"], generator=self._generator)
        self._norm("final_norm", hidden)
        if not c["tie_embeddings"]:
            self._matrix("head", c["vocab_size"], hidden)

    def _feed_forward(self, prefix, width):
        self._matrix(prefix + "gate", width, self.config["hidden"])
        self._matrix(prefix + "up", width, self.config["hidden"])
        self._matrix(prefix + "down", self.config["hidden"], width)

    def is_moe(self, layer):
        moe = self.config["moe"]
        return moe["experts"] > 0 and layer >= moe["dense_layers"]

    def to(self, dtype):
        """A copy that computes in another dtype, from the same numbers."""
        twin = object.__new__(TwinModel)
        twin.__dict__ = dict(self.__dict__)
        twin.parameters = {
            n: p.detach().to(dtype).clone().requires_grad_() for n, p in self.parameters.items()
        }
        twin.biases = {i: b.to(dtype).clone() for i, b in self.biases.items()}
        twin.margin = math.inf
        return twin

    def _attention(self, p, x, batch):
        c, w = self.config, self.parameters
        dim, count = c["head_dim"], len(x)
        q = (x @ w[p + "q"].T).view(count, c["heads"], dim)
        k = (x @ w[p + "k"].T).view(count, c["kv_heads"], dim)
        v = (x @ w[p + "v"].T).view(count, c["kv_heads"], dim)
        if c["qk_norm"]:
            q = rms_norm(q, w[p + "q_norm"], c["norm_eps"])
            k = rms_norm(k, w[p + "k_norm"], c["norm_eps"])
        q = rotate(q, batch["positions"], c["rotary"]["base"])
        k = rotate(k, batch["positions"], c["rotary"]["base"])
        k = k.repeat_interleave(c["heads"] // c["kv_heads"], 1)
        v = v.repeat_interleave(c["heads"] // c["kv_heads"], 1)
        scores = torch.einsum("thd,shd->hts", q, k) / math.sqrt(dim)
        scores = scores.masked_fill(~document_mask(batch["boundaries"]), -math.inf)
        mixed = torch.einsum("hts,shd->thd", scores.softmax(-1), v)
        return mixed.reshape(count, -1) @ w[p + "o"].T

    def _experts(self, layer, x, batch, report):
        moe, w, p = self.config["moe"], self.parameters, f"layers.{layer}."
        logits = x @ w[p + "router"].T
        scores = logits.sigmoid() if moe["score"] == "sigmoid" else logits.softmax(-1)
        biased = (scores + self.biases.get(layer, 0)).detach()
        best = biased.topk(moe["top_k"] + 1, -1)
        self.margin = min(self.margin, (best.values[:, -2] - best.values[:, -1]).min().item())
        chosen = best.indices[:, :-1]
        weights = scores.gather(1, chosen)
        if moe["normalize"]:
            weights = weights / weights.sum(-1, keepdim=True)
        weights = weights * moe["route_scale"]
        y = torch.zeros_like(x)
        for e in range(moe["experts"]):
            tokens, slot = (chosen == e).nonzero(as_tuple=True)
            f = f"{p}experts.{e}."
            part = swiglu(x[tokens], w[f + "gate"], w[f + "up"], w[f + "down"])
            y = y.index_add(0, tokens, part * weights[tokens, slot, None])
        if moe["shared_experts"] > 0:
            y = y + swiglu(x, *(w[f"{p}shared.{n}"] for n in ("gate", "up", "down")))
        self._router_losses(layer, logits, scores, chosen, batch, report)
        return y

    def _router_losses(self, layer, logits, scores, chosen, batch, report):
        moe = self.config["moe"]
        experts, k = moe["experts"], moe["top_k"]
        valid = batch["labels"] >= 0

        def balance(rows, choice):
            n = rows.sum()
            one_hot = torch.nn.functional.one_hot(choice[rows], experts)
            chosen_by = one_hot.sum((0, 1)).to(scores.dtype)
            share = scores[rows] / scores[rows].sum(-1, keepdim=True)
            return (experts * chosen_by / (k * n) * share.mean(0)).sum()

        if moe["sequence_loss"] > 0:
            unbiased = scores.detach().topk(k, -1).indices
            row = torch.arange(len(valid)) // batch["length"]
            sequences = [balance(valid & (row == r), unbiased) for r in range(batch["rows"])]
            report["extra"] += moe["sequence_loss"] * sum(sequences) / batch["rows"]
            edge = scores.detach().topk(k + 1, -1).values
            self.margin = min(self.margin, (edge[:, -2] - edge[:, -1]).min().item())
        if moe["balance_loss"] > 0:
            report["extra"] += moe["balance_loss"] * balance(valid, chosen)
        if moe["z_loss"] > 0:
            report["extra"] += moe["z_loss"] * logits[valid].logsumexp(-1).pow(2).mean()
        counts = torch.nn.functional.one_hot(chosen[valid], experts).sum((0, 1))
        report["expert_tokens"][layer] = counts

    def forward(self, batch):
        """Logits, and a report: `extra` router losses and `expert_tokens` by layer."""
        c, w = self.config, self.parameters
        report = {"extra": 0.0, "expert_tokens": {}}
        x = w["embedding"][batch["tokens"]]
        for i in range(c["layers"]):
            p = f"layers.{i}."
            x = x + self._attention(p, rms_norm(x, w[p + "attention_norm"], c["norm_eps"]), batch)
            normed = rms_norm(x, w[p + "ffn_norm"], c["norm_eps"])
            if self.is_moe(i):
                x = x + self._experts(i, normed, batch, report)
            else:
                x = x + swiglu(normed, *(w[f"{p}ffn.{n}"] for n in ("gate", "up", "down")))
        x = rms_norm(x, w["final_norm"], c["norm_eps"])
        return x @ w["embedding" if c["tie_embeddings"] else "head"].T, report

    def loss(self, batch):
        """(what is minimised, mean negative log likelihood, report of forward)."""
        logits, report = self.forward(batch)
        valid = batch["labels"] >= 0
        nll = torch.nn.functional.cross_entropy(logits[valid], batch["labels"][valid])
        z = self.config["z_loss"] * logits[valid].logsumexp(-1).pow(2).mean()
        return nll + z + report["extra"], nll, report

    def update_biases(self, expert_tokens):
        """DeepSeek-V3, section 2.1.2: overloaded experts down by gamma, underloaded ones up."""
        for layer, bias in self.biases.items():
            counts = expert_tokens[layer]
            direction = torch.sign(counts.sum() - counts * len(counts))
            bias += self.config["moe"]["bias_speed"] * direction.to(bias.dtype)

    def in_choir_layout(self, tensors):
        """{name in model/layers.h: tensor} of weights or gradients given by their names here."""
        c = self.config
        groups, dim, out = c["kv_heads"], c["head_dim"], {}

        def gate_up(prefix):
            return torch.stack([tensors[prefix + "gate"], tensors[prefix + "up"]], -2)

        for name in ("embedding", "final_norm", "head"):
            if name in tensors:
                out[name] = tensors[name]
        for i in range(c["layers"]):
            p = f"layers.{i}."
            parts = [tensors[p + n].view(groups, -1, dim, c["hidden"]) for n in "qkv"]
            out[p + "attention.qkv"] = torch.cat(parts, 1)
            out[p + "attention.output"] = tensors[p + "o"]
            for n in ("q_norm", "k_norm"):
                if p + n in tensors:
                    out[f"{p}attention.{n}"] = tensors[p + n]
            out[p + "attention_norm"] = tensors[p + "attention_norm"]
            out[p + "ffn_norm"] = tensors[p + "ffn_norm"]
            if not self.is_moe(i):
                out[p + "ffn.gate_up"] = gate_up(p + "ffn.")
                out[p + "ffn.down"] = tensors[p + "ffn.down"]
                continue
            experts = [f"{p}experts.{e}." for e in range(c["moe"]["experts"])]
            out[p + "moe.router"] = tensors[p + "router"]
            out[p + "moe.experts.gate_up"] = torch.stack([gate_up(e) for e in experts])
            out[p + "moe.experts.down"] = torch.stack([tensors[e + "down"] for e in experts])
            if c["moe"]["shared_experts"] > 0:
                out[p + "moe.shared.gate_up"] = gate_up(p + "shared.")
                out[p + "moe.shared.down"] = tensors[p + "shared.down"]
        return out
