#!/usr/bin/env python3
"""Writes the golden fixtures beside this file: random DistilBERTs, run by PyTorch and transformers.

    pip install torch==2.15.0 transformers==5.23.0 safetensors==0.8.0 numpy==2.4.6
    python make_golden.py [--out DIR]

Those are the versions that made the committed fixtures (CPU, Python 3.11). README.md describes what a fixture holds.
A second run on the same machine reproduces the files byte for byte; another processor may round the last bit otherwise.
Every run checks itself: the batch padded and masked, as transformers wants it, must agree in f64 with the same sequences
run one by one without padding, and the sparse masks and the ReLU must be far enough from a tie for f32 to agree.
"""
import argparse
import json
import math
import os
import struct

import numpy as np
import safetensors.torch
import torch
import transformers
from transformers import AttentionInterface, AttentionMaskInterface, DistilBertConfig, DistilBertForSequenceClassification
from transformers.masking_utils import eager_mask

TRAINING = dict(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01, clip=1.0, steps=3)
SPARSITY = 0.8

# name: (model, sequence lengths, how the random weights are drawn, sparse runs, row stride of what is stored, seed)
FIXTURES = {
    "tiny": dict(
        model=dict(vocab_size=50, n_layers=2, dim=8, n_heads=2, hidden_dim=16, max_position_embeddings=16, num_labels=2),
        lengths=[5, 1, 9, 4, 7, 2], gain=dict(attention=2.0, head=1.2), sparse=[], row_stride=1, seed=4),
    "heads64": dict(
        model=dict(vocab_size=18, n_layers=2, dim=128, n_heads=2, hidden_dim=8, max_position_embeddings=6, num_labels=2),
        lengths=[6, 1, 4], gain=dict(attention=1.6, head=0.6), sparse=[], row_stride=23, bf16=True, seed=14),
    "ragged": dict(
        model=dict(vocab_size=40, n_layers=3, dim=15, n_heads=3, hidden_dim=28, max_position_embeddings=12, num_labels=3),
        lengths=[7, 1, 12, 3, 10, 5, 2, 9, 6, 11, 4, 8], gain=dict(attention=1.8, head=1.2), sparse=["row", "head"],
        row_stride=1, seed=6),
}

# What the registered attention function below does: "" is dense, else the sparsity scope. margin: the smallest distance,
# over all decisions taken, of a score from the threshold that it was compared with.
attention_mode = {"scope": "", "margin": math.inf}


def kept(scores, scope):
    """Which of one sequence's valid scores [heads, n, n] survive; records how close the decisions were."""
    n = scores.shape[-1]
    if scope == "row":
        k = max(1, math.floor((1 - SPARSITY) * n + 0.5))
        order = scores.sort(-1, descending=True)
        if k < n:
            gap = (order.values[..., k - 1] - order.values[..., k]).min()
            attention_mode["margin"] = min(attention_mode["margin"], float(gap))
        return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, order.indices[..., :k], True)
    threshold = torch.quantile(scores.flatten(1), SPARSITY, dim=-1)[:, None, None]  # linear interpolation
    distance = (scores - threshold).abs()
    distance = distance[distance > 0]  # 0: the threshold is that score itself, copied, and the score stays
    if distance.numel():
        attention_mode["margin"] = min(attention_mode["margin"], float(distance.min()))
    return (scores >= threshold) | (scores == scores.max(-1, keepdim=True).values)


def attention(module, query, key, value, mask, scaling=None, dropout=0.0, **_):
    """transformers' eager attention, with the scores that Crisp's sparsity removes set to -inf before the softmax."""
    scores = query @ key.transpose(2, 3) * scaling
    valid = torch.ones_like(scores[:, :1, :1], dtype=torch.bool) if mask is None else mask[:, :, :1] > -1
    scores = scores.masked_fill(~valid, -math.inf)
    if attention_mode["scope"]:
        keep = valid.expand_as(scores).clone()
        for sequence in range(scores.shape[0]):
            n = int(valid[sequence].sum())
            keep[sequence, :, :n, :n] = kept(scores[sequence, :, :n, :n].detach(), attention_mode["scope"])
        scores = scores.masked_fill(~keep, -math.inf)
    weights = scores.softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def initial_parameters(model, fixture):
    """Random values for every parameter, biases and LayerNorm included: no gradient is trivial, no softmax is flat."""
    rng = np.random.default_rng(fixture["seed"])
    result = {}
    for name, tensor in model.state_dict().items():
        draw = rng.standard_normal(tuple(tensor.shape))
        if "layer_norm.weight" in name or "LayerNorm.weight" in name:
            value = 1 + 0.25 * draw
        elif name.endswith("bias"):
            value = 0.2 * draw
        elif "embeddings" in name:
            value = draw
        else:
            gain = 1.2
            if "q_lin" in name or "k_lin" in name:
                gain = fixture["gain"]["attention"]
            if name.startswith("pre_classifier"):
                gain = fixture["gain"]["head"]
            value = gain / math.sqrt(tensor.shape[1]) * draw
        value = torch.from_numpy(value.astype(np.float32))
        result[name] = value.bfloat16().float() if fixture.get("bf16") else value
    return result


def build(fixture, parameters, dtype, scope):
    """The model in training mode without dropout: eager attention as transformers has it, ours where it is sparse."""
    config = DistilBertConfig(
        dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, pad_token_id=0, **fixture["model"])
    config._attn_implementation = "crisp" if scope else "eager"
    attention_mode.update(scope=scope, margin=math.inf)
    model = DistilBertForSequenceClassification(config).to(dtype)
    model.load_state_dict({name: value.to(dtype) for name, value in parameters.items()})
    return model.train()


def batch_of(fixture):
    """Random ids (never 0: torch gives the padding token no gradient) and labels."""
    rng = np.random.default_rng(1000 + fixture["seed"])
    model = fixture["model"]
    ids = [rng.integers(1, model["vocab_size"], n) for n in fixture["lengths"]]
    return ids, rng.integers(0, model["num_labels"], len(ids))


def padded(ids):
    width = max(len(i) for i in ids)
    x, mask = np.zeros((len(ids), width), np.int64), np.zeros((len(ids), width), np.int64)
    for row, sequence in enumerate(ids):
        x[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return torch.from_numpy(x), torch.from_numpy(mask)


def forward_backward(model, ids, labels, one_by_one):
    """The batch's logits and mean loss, gradients left in the model: as one padded, masked batch, or each sequence alone."""
    model.zero_grad()
    if not one_by_one:
        x, mask = padded(ids)
        output = model(input_ids=x, attention_mask=mask, labels=torch.from_numpy(labels))
        output.loss.backward()
        return output.logits.detach(), output.loss.detach()
    logits, loss = [], 0.0
    for sequence, label in zip(ids, labels):
        output = model(input_ids=torch.from_numpy(sequence)[None], labels=torch.tensor([label]))
        (output.loss / len(ids)).backward()
        logits.append(output.logits.detach()[0])
        loss += output.loss.detach() / len(ids)
    return torch.stack(logits), loss


def run(fixture, parameters, ids, labels, dtype, scope="", one_by_one=False):
    """logits, loss, grad.*; and, after three AdamW steps on the same batch, losses, grad_norms and after.*

    Also the margins of that first forward pass: of the sparse masks' thresholds, and of the ReLU's kink."""
    model, t = build(fixture, parameters, dtype, scope), TRAINING
    pre_relu = []
    model.pre_classifier.register_forward_hook(
        lambda module, inputs, output: pre_relu.append(float(output.detach().abs().min())))
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]  # biases and LayerNorm
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": t["weight_decay"]}, {"params": plain, "weight_decay": 0.0}],
        lr=t["lr"], betas=(t["beta1"], t["beta2"]), eps=t["eps"], foreach=False, fused=False)
    result, losses, norms = {}, [], []
    for step in range(t["steps"]):
        logits, loss = forward_backward(model, ids, labels, one_by_one)
        if step == 0:
            result = {"logits": logits, "loss": loss}
            result |= {"grad." + name: p.grad.detach().clone() for name, p in model.named_parameters()}
            margins = attention_mode["margin"], min(pre_relu)
        losses.append(loss)
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), t["clip"], foreach=False))
        optimizer.step()
    result["losses"], result["grad_norms"] = torch.stack(losses), torch.stack(norms)
    return result | {"after." + name: p.detach().clone() for name, p in model.named_parameters()}, margins


def relative(a, b):
    return float((a.double() - b.double()).norm() / b.double().norm())


def compare(result, reference):
    """Largest differences, as text and as numbers: relative L2 per tensor, but absolute for the key biases.

    A key bias adds the same number to all scores of a row, which the softmax ignores: its true gradient is zero, what is
    computed is rounding noise, and Adam divides that noise by its own size."""
    worst = {"logits": relative(result["logits"], reference["logits"])}
    for kind in ("grad", "after"):
        names = [n for n in reference if n.startswith(kind + ".")]
        worst[kind] = max(relative(result[n], reference[n]) for n in names if not n.endswith("k_lin.bias"))
        worst[kind + " of key biases"] = max(
            float((result[n].double() - reference[n].double()).abs().max()) for n in names if n.endswith("k_lin.bias"))
    return worst


def show(label, numbers):
    print(f"  {label}: " + ", ".join(f"{key} {value:.1e}" for key, value in numbers.items()))


def write_safetensors(path, tensors, metadata):
    """Canonical: sorted by dtype size, then name; header padded to 8. The safetensors package orders metadata at random."""
    codes = {torch.float64: "F64", torch.float32: "F32", torch.bfloat16: "BF16", torch.int32: "I32"}
    header, data, at = {"__metadata__": {"format": "pt"} | metadata}, [], 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        tensor = tensor.contiguous()
        as_bytes = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {"dtype": codes[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + len(as_bytes)]}
        data.append(as_bytes)
        at += len(as_bytes)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(data))


def make(name, fixture, out):
    model = DistilBertForSequenceClassification(DistilBertConfig(**fixture["model"]))
    parameters = initial_parameters(model, fixture)
    ids, labels = batch_of(fixture)
    stride = fixture["row_stride"]

    def sampled(tensor):
        return tensor[::stride] if tensor.ndim == 2 else tensor

    tensors = {n: (p.bfloat16() if fixture.get("bf16") else p) for n, p in parameters.items()}
    tensors["input.ids"] = torch.from_numpy(np.concatenate(ids).astype(np.int32))
    tensors["input.offsets"] = torch.from_numpy(np.cumsum([0] + [len(i) for i in ids]).astype(np.int32))
    tensors["input.labels"] = torch.from_numpy(labels.astype(np.int32))

    print(f"{name}: {sum(p.numel() for p in parameters.values())} parameters, {len(ids)} sequences")
    runs = {"f32": run(fixture, parameters, ids, labels, torch.float32)[0]}
    for prefix, scope in [("f64", "")] + [(scope, scope) for scope in fixture["sparse"]]:
        runs[prefix], (mask_margin, relu_margin) = run(fixture, parameters, ids, labels, torch.float64, scope)
        alone, _ = run(fixture, parameters, ids, labels, torch.float64, scope, one_by_one=True)
        noise = compare(runs[prefix], alone)
        show(f"{prefix}, batch against one by one", noise)
        show(f"{prefix}, nearest tie", {"mask": mask_margin, "relu": relu_margin})
        assert max(noise["logits"], noise["grad"], noise["after"], noise["grad of key biases"]) < 1e-13
        assert noise["after of key biases"] < 1e-10
        assert min(mask_margin, relu_margin) > 1e-4, "a decision hangs on the last bits of f32: take another seed"
        print(f"    losses {runs[prefix]['losses'].tolist()}")
        print(f"    gradient norms {runs[prefix]['grad_norms'].tolist()}")
    show("f32 against f64", compare(runs["f32"], runs["f64"]))

    for prefix, result in runs.items():
        tensors |= {f"{prefix}.{n}": (sampled(t) if n.startswith(("grad.", "after.")) else t) for n, t in result.items()}
    metadata = {key: str(value) for key, value in (fixture["model"] | TRAINING).items()}
    metadata |= {"sparsity": str(SPARSITY), "row_stride": str(stride), "layer_norm_eps": "1e-12",
                 "torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}
    path = os.path.join(out, name + ".safetensors")
    write_safetensors(path, tensors, metadata)
    safetensors.torch.load_file(path)  # the reference reader accepts it
    print(f"  {os.path.getsize(path)} bytes, {len(tensors)} tensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    AttentionInterface.register("crisp", attention)
    AttentionMaskInterface.register("crisp", eager_mask)  # else transformers hands over no mask at all
    for name, fixture in FIXTURES.items():
        make(name, fixture, out)


if __name__ == "__main__":
    main()
