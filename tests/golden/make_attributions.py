#!/usr/bin/env python3
"""Writes attributions.safetensors beside this file: captum's attributions for the models of make_golden.py's fixtures.

    pip install torch==2.15.0 transformers==5.23.0 captum==0.9.0 safetensors==0.8.0 numpy==2.4.6
    python make_attributions.py [--out DIR]

Everything is f64, with word embeddings as the input (inputs_embeds) and a path from [PAD]'s, id 0. captum 0.9 rounds the
weights of its quadrature to f32, which alone moves what it returns by 1e-8: they are left in f64 here, and the script
checks that nothing else changes. README.md describes the file.
"""
import argparse
import contextlib
import os

import numpy as np
import safetensors.torch
import torch
from captum.attr import InputXGradient, IntegratedGradients
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

import make_golden

STEPS = 16
HERE = os.path.dirname(os.path.abspath(__file__))

# name: (fixture, sparsity scope, its sequence, what f is)
CASES = {
    "tiny": ("tiny", "", 2, ("logit", 1)),
    "tiny_loss": ("tiny", "", 4, ("label", 0)),
    "ragged": ("ragged", "", 2, ("logit", 2)),
    "ragged_row": ("ragged", "row", 9, ("logit", 0)),
    "ragged_head": ("ragged", "head", 7, ("label", 1)),
}


@contextlib.contextmanager
def weights_in_f64():
    """captum makes a tensor of the quadrature's weights and calls float() on it, and on nothing else."""
    original = torch.Tensor.float
    torch.Tensor.float = lambda self, *args, **kwargs: self.double()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.Tensor.float = original
        torch.set_default_dtype(torch.float32)


def run(name):
    fixture_name, scope, sequence, (kind, index) = CASES[name]
    fixture = make_golden.FIXTURES[fixture_name]
    stored = safetensors.torch.load_file(os.path.join(HERE, fixture_name + ".safetensors"))
    shapes = make_golden.DistilBertForSequenceClassification(make_golden.DistilBertConfig(**fixture["model"])).state_dict()
    model = make_golden.build(fixture, {n: stored[n].float() for n in shapes}, torch.float64, scope)
    for p in model.parameters():
        p.requires_grad_(False)
    offsets = stored["input.offsets"].tolist()
    ids = stored["input.ids"][offsets[sequence] : offsets[sequence + 1]]
    baseline = torch.zeros_like(ids)
    baseline[0], baseline[-1] = ids[0], ids[-1]  # as [CLS] and [SEP]
    words = model.distilbert.embeddings.word_embeddings.weight
    x, x0 = words[ids.long()][None].clone(), words[baseline.long()][None].clone()

    def f(embeds):
        logits = model(inputs_embeds=embeds).logits
        if kind == "logit":
            return logits[:, index]
        return torch.nn.functional.cross_entropy(logits, torch.full((len(logits),), index), reduction="none")

    gradients = IntegratedGradients(f)
    with weights_in_f64():
        integrated = gradients.attribute(x, x0, n_steps=STEPS, method="gausslegendre").detach()
    as_it_is = gradients.attribute(x, x0, n_steps=STEPS, method="gausslegendre").detach()
    times_input = InputXGradient(f).attribute(x.clone().requires_grad_()).detach()
    values = torch.stack([f(x)[0], f(x0)[0]]).detach()
    difference, total = float(values[0] - values[1]), float(integrated.sum())
    rounding = float((integrated - as_it_is).abs().max() / integrated.abs().max())
    margin = make_golden.attention_mode["margin"]
    print(f"{name}: {kind} {index}, {len(ids)} tokens, f {values.tolist()}, completeness error "
          f"{abs(total - difference) / abs(difference):.2e}, f32 weights {rounding:.1e}, nearest tie {margin:.1e}")
    assert 0 < rounding < 1e-7 and margin > 1e-6
    return {
        f"{name}.ids": ids, f"{name}.baseline": baseline, f"{name}.f": values,
        f"{name}.integrated_gradients": integrated[0], f"{name}.input_x_gradient": times_input[0],
    }, {f"{name}.fixture": fixture_name, f"{name}.run": scope or "f64", f"{name}.objective": f"{kind} {index}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default=HERE)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    AttentionInterface.register("crisp", make_golden.attention)
    AttentionMaskInterface.register("crisp", eager_mask)
    tensors, metadata = {}, {"steps": str(STEPS), "cases": ",".join(CASES)}
    for name in CASES:
        values, facts = run(name)
        tensors |= values
        metadata |= facts
    path = os.path.join(out, "attributions.safetensors")
    make_golden.write_safetensors(path, tensors, metadata)
    print(f"{os.path.getsize(path)} bytes, {len(tensors)} tensors")


if __name__ == "__main__":
    main()
