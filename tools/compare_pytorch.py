#!/usr/bin/env python3
"""Crisp beside PyTorch: the same training steps, alternately, in one go.

    python -m venv .peer && .peer/bin/pip install torch transformers tokenizers safetensors numpy
    .peer/bin/python tools/compare_pytorch.py                     # every case below
    .peer/bin/python tools/compare_pytorch.py --cases f32,bf16 --steps 100 --rounds 5
    .peer/bin/python tools/compare_pytorch.py --losses            # the losses of the first 20 steps side by side
    .peer/bin/python tools/compare_pytorch.py --startup           # from exec to the first step

Cases: f32, bf16, bf16x3 (against f32), fixed128, fixed128-bf16, infer, infer-bf16. Crisp's step is crisp-bench's; PyTorch's is
pytorch_step.py (--peer): P0 = transformers as most people run it, P1 = its best, of which the fastest of these counts: plain,
tcmalloc or jemalloc preloaded (where present), torch.compile (--compile). The seed is the round's number on both sides. Sequences
per second hang on how long the sentences happen to be (P1 draws batches of similar lengths), tokens per second less: both are
printed. Ratios above 1 are in Crisp's favour, for memory those below.
"""
import argparse
import glob
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# case: options of crisp-bench step, of the peer, which peers
CASES = {
    "f32": (["--precision", "f32"], [], ["P0", "P1"]),
    "bf16": (["--precision", "bf16"], ["--bf16"], ["P0", "P1"]),
    "bf16x3": (["--precision", "bf16x3"], [], ["P0", "P1"]),
    "fixed128": (["--precision", "f32", "--lengths", "fixed:128"], ["--fixed", "128"], ["P1"]),
    "fixed128-bf16": (["--precision", "bf16", "--lengths", "fixed:128"], ["--fixed", "128", "--bf16"], ["P1"]),
    "infer": (["--precision", "f32", "--infer"], ["--infer"], ["P1"]),
    "infer-bf16": (["--precision", "bf16", "--infer"], ["--infer", "--bf16"], ["P1"]),
}
LEARNING_RATE, WEIGHT_DECAY, MAX_NORM = 2e-5, 0.01, 1.0


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.path.join(ROOT, "build"), help="folder with crisp-bench and crisp-train")
    p.add_argument("--peer", default=os.path.join(ROOT, "../shared/tools/pytorch_step.py"))
    p.add_argument("--datasets", default=os.environ.get("CRISP_DATASETS") or os.path.join(ROOT, "../shared/datasets"),
                   help="folder with sst2/ and bert-base-uncased/")
    p.add_argument("--cases", default=",".join(CASES))
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--steps", type=int, default=20)
    p.add_argument("--warm", type=int, default=4)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--compile", action="store_true", help="try torch.compile too (a minute of compiling each time)")
    p.add_argument("--no-malloc", action="store_true", help="do not try tcmalloc and jemalloc")
    p.add_argument("--json", metavar="FILE", help="write every run there")
    p.add_argument("--losses", action="store_true")
    p.add_argument("--startup", action="store_true")
    p.add_argument("--seed", type=int, default=1, help="of --losses")
    p.add_argument("--weights", metavar="DIR", help="for --losses and --startup; default: random ones, written anew")
    p.add_argument("--child", help=argparse.SUPPRESS)  # how this script starts itself
    a = p.parse_args()
    unknown = set(a.cases.split(",")) - set(CASES)
    if unknown:
        p.error(f"unknown cases: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    return a


def train_file(a):
    return os.path.join(a.datasets, "sst2/train.tsv")


def vocab_file(a):
    return os.path.join(a.datasets, "bert-base-uncased/vocab.txt")


class Refused(Exception):
    """The machine lacks what a case needs."""


def run_json(command, preload=None):
    env = dict(os.environ)
    if preload:
        env["LD_PRELOAD"] = preload
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode == 2 and "needs a CPU with" in done.stderr:  # train/inference/precision.cpp
        raise Refused(done.stderr.strip())
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Log(list):
    """Everything measured, also in a file after each addition, so that a case that fails costs nothing but itself."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def append(self, entry):
        super().append(entry)
        if self.path:
            with open(self.path, "w", encoding="utf-8") as f:
                json.dump(self, f, indent=1)


def mallocs():
    found = {}
    for name, pattern in (("tcmalloc", "libtcmalloc.so*"), ("tcmalloc", "libtcmalloc_minimal.so*"), ("jemalloc", "libjemalloc.so*")):
        files = sorted(glob.glob("/usr/lib/*/" + pattern) + glob.glob("/usr/lib*/" + pattern) + glob.glob("/usr/local/lib/" + pattern))
        if files:
            found.setdefault(name, files[0])
    return found


def step_commands(a, case, seed):
    """name -> (command, preload)"""
    ours, theirs, peers = CASES[case]
    sizes = ["--steps", str(a.steps), "--warm", str(a.warm), "--batch", str(a.batch), "--threads", str(a.threads), "--seed", str(seed), "--json"]
    commands = {"crisp": ([os.path.join(a.build, "crisp-bench"), "step", "--data", train_file(a), "--vocab", vocab_file(a)] + ours + sizes, None)}
    for mode in peers:
        command = [sys.executable, a.peer, "--mode", mode, "--data", train_file(a), "--vocab", vocab_file(a)] + theirs + sizes
        commands[mode] = (command, None)
        if mode != "P1":
            continue
        if not a.no_malloc:
            for name, library in mallocs().items():
                commands[f"P1 {name}"] = (command, library)
        if a.compile:
            commands["P1 compiled"] = (command + ["--compile"], None)
    return commands


def middle(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}..{max(values):.2f})"


def compare(a, case, log):
    runs = {}
    for round_number in range(a.rounds):
        for name, (command, preload) in step_commands(a, case, round_number).items():
            try:
                run = run_json(command, preload)
            except Refused as reason:
                print(f"{case}: left out: {reason}\n")
                return
            runs.setdefault(name, []).append(run)
            log.append({"case": case, "round": round_number, "who": name, **run})
    print(f"{case}: {a.rounds} rounds of {a.steps} steps, batch {a.batch}, {a.threads} threads; medians")
    print(f"  {'':14} {'ms/step':>9} {'sequences/s':>12} {'tokens/s':>9} {'peak GB':>8}")
    for name, of in runs.items():
        m = {k: statistics.median(r[k] for r in of) for k in ("mean_ms", "sequences_per_s", "tokens_per_s", "peak_rss_gb")}
        print(f"  {name:14} {m['mean_ms']:9.1f} {m['sequences_per_s']:12.1f} {m['tokens_per_s']:9.0f} {m['peak_rss_gb']:8.2f}")
    best = max((n for n in runs if n.startswith("P1")), key=lambda n: statistics.median(r["tokens_per_s"] for r in runs[n]))
    for against in [n for n in runs if n == "P0"] + [best]:
        pairs = list(zip(runs["crisp"], runs[against]))
        ratio = {k: [c[k] / p[k] for c, p in pairs] for k in ("sequences_per_s", "tokens_per_s", "peak_rss_gb")}
        print(f"  against {against}: sequences/s {middle(ratio['sequences_per_s'])}x, tokens/s {middle(ratio['tokens_per_s'])}x, "
              f"peak memory {middle(ratio['peak_rss_gb'])}x")
    print(flush=True)


def initial_weights(a, folder):
    """A checkpoint of DistilBERT-base with random weights, as crisp-train writes it."""
    if a.weights:
        return a.weights
    weights = os.path.join(folder, "initial")
    if os.path.exists(weights):
        return weights
    data = os.path.join(folder, "data")  # as few sentences as will do
    os.mkdir(data)
    lines = open(train_file(a), encoding="utf-8").read().splitlines()[:9]
    for name in ("train.tsv", "dev.tsv"):
        with open(os.path.join(data, name), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
    subprocess.run([os.path.join(a.build, "crisp-train"), "--init", "distilbert-base", "--vocab", vocab_file(a), "--data", data,
                    "--num-labels", "2", "--epochs", "0", "--seed", str(a.seed), "--output", weights], check=True, capture_output=True)
    return weights


def read_sentences(path):
    rows = [line.rstrip("\n").split("\t") for line in open(path, encoding="utf-8")][1:]
    return [r[0] for r in rows], [int(r[1]) for r in rows]


def build_model(weights, dropout=None):
    """Model and optimizer as pytorch_step.py's P1 has them, from a checkpoint."""
    import torch
    from transformers import DistilBertForSequenceClassification

    rates = {} if dropout is None else dict(dropout=dropout, attention_dropout=dropout, seq_classif_dropout=dropout)
    model = DistilBertForSequenceClassification.from_pretrained(weights, attn_implementation="sdpa", **rates)
    model.train()
    groups = [{"params": [q for q in model.parameters() if q.ndim > 1], "weight_decay": WEIGHT_DECAY},
              {"params": [q for q in model.parameters() if q.ndim <= 1], "weight_decay": 0.0}]
    return model, torch.optim.AdamW(groups, lr=LEARNING_RATE, fused=True)


def train_step(model, optimizer, ids, labels, bf16=False):
    """One step on sentences of token ids, padded to the longest; the loss."""
    import torch

    longest = max(len(i) for i in ids)
    x = torch.tensor([i + [0] * (longest - len(i)) for i in ids])
    mask = torch.tensor([[1] * len(i) + [0] * (longest - len(i)) for i in ids])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = model(input_ids=x, attention_mask=mask, labels=torch.tensor(labels)).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


def peer_losses(a, weights, batches, bf16):
    import torch
    from tokenizers import BertWordPieceTokenizer

    torch.set_num_threads(a.threads)
    texts, labels = read_sentences(train_file(a))
    tokenizer = BertWordPieceTokenizer(vocab_file(a), lowercase=True)
    tokenizer.enable_truncation(128)
    model, optimizer = build_model(weights, dropout=0.0)
    return [train_step(model, optimizer, [tokenizer.encode(texts[i]).ids for i in batch], [labels[i] for i in batch], bf16)
            for batch in batches]


def compare_losses(a, folder, log):
    weights = initial_weights(a, folder)
    for precision in ("f32", "bf16"):
        command = [os.path.join(a.build, "crisp-bench"), "step", "--weights", weights, "--data", train_file(a), "--vocab", vocab_file(a),
                   "--steps", str(a.steps), "--warm", "0", "--batch", str(a.batch), "--threads", str(a.threads), "--seed", str(a.seed),
                   "--dropout", "0", "--learning-rate", str(LEARNING_RATE), "--weight-decay", str(WEIGHT_DECAY),
                   "--max-grad-norm", str(MAX_NORM), "--precision", precision, "--losses", "--print-batches", "--json"]
        try:
            run = run_json(command)
        except Refused as reason:
            print(f"losses, {precision}: left out: {reason}")
            continue
        theirs = peer_losses(a, weights, run["batches"], precision == "bf16")
        log.append({"case": f"losses {precision}", "crisp": run["losses"], "torch": theirs})
        print(f"losses, {precision}, dropout 0, the same weights and batches\n  step      crisp    PyTorch  difference")
        for s, (ours, its) in enumerate(zip(run["losses"], theirs), 1):
            print(f"  {s:4} {ours:10.7f} {its:10.7f}  {ours - its:+.1e}")
        print(f"  largest difference {max(abs(c - p) for c, p in zip(run['losses'], theirs)):.1e}\n", flush=True)


def startup_child(a):
    """What a script with transformers does until its first step is done."""
    import torch
    from tokenizers import BertWordPieceTokenizer

    torch.set_num_threads(a.threads)
    model, optimizer = build_model(a.weights)
    texts, labels = read_sentences(train_file(a))
    tokenizer = BertWordPieceTokenizer(vocab_file(a), lowercase=True)
    tokenizer.enable_truncation(128)
    ids = [e.ids for e in tokenizer.encode_batch(texts)]
    train_step(model, optimizer, ids[:a.batch], labels[:a.batch])
    print("step 1", flush=True)


def time_to_line(command, text, stream):
    """Seconds from exec until a line of the stream contains the text; then the process is killed."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, text=True, **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE})
    for line in getattr(process, stream):
        if text in line:
            seconds = time.perf_counter() - begin
            process.kill()
            process.wait()
            return seconds
    sys.exit(f"{' '.join(command)}\nended with {process.wait()} before its first step")


def compare_startup(a, folder, log):
    weights = initial_weights(a, folder)
    size = os.path.getsize(os.path.join(weights, "model.safetensors")) / 1e6
    ours, theirs = [], []
    for r in range(a.rounds):
        crisp = [os.path.join(a.build, "crisp-train"), "--weights", weights, "--vocab", vocab_file(a), "--data", os.path.join(a.datasets, "sst2"),
                 "--batch-size", str(a.batch), "--threads", str(a.threads), "--logging-steps", "1", "--output", os.path.join(folder, f"run{r}")]
        ours.append(time_to_line(crisp, "step 1/", "stderr"))
        peer = [sys.executable, os.path.abspath(__file__), "--child", "startup", "--weights", weights, "--datasets", a.datasets,
                "--batch", str(a.batch), "--threads", str(a.threads)]
        theirs.append(time_to_line(peer, "step 1", "stdout"))
    log.append({"case": "startup", "crisp": ours, "torch": theirs})
    print(f"from exec to the end of the first step, a checkpoint of {size:.0f} MB in the page cache, all of SST-2 tokenised:")
    print(f"  crisp {middle(ours)} s, PyTorch {middle(theirs)} s; ratio {statistics.median(ours) / statistics.median(theirs):.3f}\n", flush=True)


def main():
    a = arguments()
    if a.child == "startup":
        return startup_child(a)
    for path in (train_file(a), vocab_file(a), a.peer, os.path.join(a.build, "crisp-bench")):
        if not os.path.exists(path):
            sys.exit(f"{path} is missing; see --help")
    log = Log(a.json)
    if a.losses or a.startup:
        with tempfile.TemporaryDirectory() as folder:
            if a.losses:
                compare_losses(a, folder, log)
            if a.startup:
                compare_startup(a, folder, log)
    else:
        for case in a.cases.split(","):
            compare(a, case, log)


if __name__ == "__main__":
    main()
