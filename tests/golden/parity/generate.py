#!/usr/bin/env python3
"""Losses of 50 training steps in PyTorch, for tests/test_parity.c to follow.

    python3 generate.py > losses.txt        (with the packages torch and numpy installed)

Weights and batches are formulas of names and indices that both sides compute exactly, so nothing but losses is stored. The
networks are written as functions over parameters in Espalier's layout and with its names: convolutions [KH, KW, C, M], linear
layers [in, out].
"""
import numpy as np
import torch
import torch.nn.functional as F

STEPS, BATCHES = 50, 8


def name_hash(name):
    """FNV-1a, 32 bits."""
    h = 2166136261
    for c in name.encode():
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    return h


def bits(name, count):
    with np.errstate(over="ignore"):
        x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(name_hash(name))
        x ^= x >> np.uint32(15)
        x *= np.uint32(0x2C1B3C6D)
        x ^= x >> np.uint32(12)
        x *= np.uint32(0x297A2D39)
        x ^= x >> np.uint32(15)
    return x


def uniform(name, *shape):
    """f32 in [-1, 1), multiples of 2^-23."""
    u = (bits(name, int(np.prod(shape))) >> np.uint32(8)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return torch.from_numpy(u.reshape(shape))


def integers(name, below, *shape):
    return torch.from_numpy((bits(name, int(np.prod(shape))) % np.uint32(below)).astype(np.int64).reshape(shape))


class Parameters(dict):
    def get(self, name, *shape):
        if name not in self:
            u = uniform(name, *shape)
            if len(shape) > 1:
                a = 0.5 if "embedding" in name else float(np.sqrt(3 / np.prod(shape[:-1])))
                u = u * np.float32(a)
            else:
                u = u * np.float32(0.1) + (np.float32(1) if name.endswith(".weight") else np.float32(0))
            self[name] = u.requires_grad_()
        return self[name]


def linear(p, x, name, out):
    return x @ p.get(name + ".weight", x.shape[-1], out) + p.get(name + ".bias", out)


def mlp(p, x):
    x = F.relu(linear(p, x, "one", 64))
    x = F.relu(linear(p, x, "two", 64))
    return linear(p, x, "three", 10)


def conv_norm(p, x, name, out, kernel, stride):
    w = p.get(name + ".conv.weight", kernel, kernel, x.shape[1], out)
    x = F.conv2d(x, w.permute(3, 2, 0, 1), stride=stride, padding=kernel // 2)
    return F.batch_norm(x, None, None, p.get(name + ".norm.weight", out), p.get(name + ".norm.bias", out), training=True, eps=1e-5)


def residual_block(p, x, name, out, stride):
    y = F.relu(conv_norm(p, x, name + ".a", out, 3, stride))
    y = conv_norm(p, y, name + ".b", out, 3, 1)
    if stride != 1:
        x = conv_norm(p, x, name + ".skip", out, 1, stride)
    return F.relu(x + y)


def resnet(p, x):
    x = F.relu(conv_norm(p, x.permute(0, 3, 1, 2), "stem", 8, 3, 1))
    x = residual_block(p, x, "block1", 8, 1)
    x = residual_block(p, x, "block2", 16, 2)
    return linear(p, x.mean((2, 3)), "head", 10)


def layer_norm(p, x, name):
    c = x.shape[-1]
    return F.layer_norm(x, (c,), p.get(name + ".weight", c), p.get(name + ".bias", c), 1e-5)


def attention(p, x, name, heads):
    n, length, c = x.shape
    q, k, v = (linear(p, x, f"{name}.{part}", c).view(n, length, heads, c // heads).transpose(1, 2) for part in ("query", "key", "value"))
    scores = q @ k.transpose(2, 3) / (c // heads) ** 0.5
    scores = scores.masked_fill(torch.triu(torch.ones(length, length, dtype=torch.bool), 1), float("-inf"))
    y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, c)
    return linear(p, y, name + ".out", c)


def transformer(p, x):
    h = p.get("embedding.weight", 20, 24)[x] + p.get("embedding.position", x.shape[1], 24)
    for i in range(2):
        h = h + attention(p, layer_norm(p, h, f"block{i}.norm1"), f"block{i}.attention", 4)
        y = F.gelu(linear(p, layer_norm(p, h, f"block{i}.norm2"), f"block{i}.mlp1", 96))
        h = h + linear(p, y, f"block{i}.mlp2", 24)
    return linear(p, layer_norm(p, h, "norm"), "head", 20)


def grouped(p, decay):
    """Biases and normalisations do not decay."""
    return [{"params": [w for w in p.values() if w.dim() > 1], "weight_decay": decay},
            {"params": [w for w in p.values() if w.dim() <= 1], "weight_decay": 0.0}]


RUNS = {
    "mlp": (mlp, lambda k: uniform(f"x{k}", 32, 32), lambda k: integers(f"y{k}", 10, 32),
            lambda p: torch.optim.Adam(p.values(), lr=1e-3)),
    "resnet": (resnet, lambda k: uniform(f"x{k}", 8, 8, 8, 3), lambda k: integers(f"y{k}", 10, 8),
               lambda p: torch.optim.SGD(grouped(p, 5e-4), lr=0.02, momentum=0.9)),
    "transformer": (transformer, lambda k: integers(f"x{k}", 20, 8, 12), lambda k: integers(f"y{k}", 20, 8, 12),
                    lambda p: torch.optim.AdamW(grouped(p, 0.05), lr=1e-3)),
}


def main():
    torch.set_num_threads(1)
    for name, (network, inputs, labels, optimizer_of) in RUNS.items():
        p = Parameters()
        network(p, inputs(0))  # creates the parameters
        optimizer = optimizer_of(p)
        for step in range(STEPS):
            logits = network(p, inputs(step % BATCHES))
            loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels(step % BATCHES).reshape(-1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            print(f"{name} {step} {loss.item():.9g}")


if __name__ == "__main__":
    main()
