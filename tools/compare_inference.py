#!/usr/bin/env python3
"""Crisp beside ONNX Runtime and PyTorch: one DistilBERT answers the same sentences, alternately, in one go.

    python3 -m venv .peer && .peer/bin/pip install torch transformers tokenizers numpy onnxruntime onnx
    .peer/bin/python tools/compare_inference.py                    # the table, as Markdown
    .peer/bin/python tools/compare_inference.py --rounds 3 --compile

Measured: seconds from exec to the first answer, checkpoint and libraries in the page cache, and the memory at most of that process;
sentences a second in batches of 32, from strings to logits, tokenising included, two batches before that uncounted; the size of what
has to be installed; and a training step, which compare_pytorch.py measures. A run during which other processes had more than 5 % of
the machine is taken again, twice at most. All get the sentences in the same two orders: sorted by tokens, so that batches need little
padding, and as the file has them. ONNX Runtime and PyTorch are given tokenizers' own WordPiece and their best of these: the model as it
is exported or with onnxruntime.transformers' fusions; SDPA as it is or, with --compile, compiled. The table is void, and the
exit code 1, if a logit differs from PyTorch's by more than --tolerance.
"""
import argparse
import importlib.metadata
import json
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import compare_pytorch
from compare_pytorch import ROOT, Log, middle, read_sentences, vocab_file

STARTERS = ["crisp-predict", "crisp", "onnx", "onnx-fused", "torch"]
ORDERS = ["sorted", "as they come"]
PASSES = ["crisp", "onnx", "onnx-fused", "torch"]
TITLES = {"crisp-predict": "crisp-predict", "crisp": "Crisp from Python", "onnx": "ONNX Runtime", "onnx-fused": "ONNX Runtime, fused",
          "torch": "PyTorch", "torch-compiled": "PyTorch, compiled"}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default=os.path.join(ROOT, "build"), help="folder with Crisp's programs and shared library")
    p.add_argument("--peer", default=os.path.join(ROOT, "../shared/tools/pytorch_step.py"), help="compare_pytorch.py's")
    p.add_argument("--datasets", default=os.environ.get("CRISP_DATASETS") or os.path.join(ROOT, "../shared/datasets"),
                   help="folder with sst2/ and bert-base-uncased/")
    p.add_argument("--weights", metavar="DIR", help="a classifier; default: DistilBERT-base with random weights, written anew")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--every", type=int, default=3, metavar="N", help="each Nth of SST-2's dev sentences (3: 291 of 872)")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--tolerance", type=float, default=1e-5)
    p.add_argument("--compile", action="store_true", help="try torch.compile, too (a minute each time)")
    p.add_argument("--no-step", action="store_true", help="leave the training step out")
    p.add_argument("--json", metavar="FILE", help="write every run there")
    p.add_argument("--seed", type=int, default=1, help="of the random weights")
    p.add_argument("--child", choices=["prepare", "start", "pass"], help=argparse.SUPPRESS)  # how this script starts itself
    p.add_argument("--system", help=argparse.SUPPRESS)
    p.add_argument("--order", choices=ORDERS, default=ORDERS[0], help=argparse.SUPPRESS)
    p.add_argument("--folder", help=argparse.SUPPRESS)
    return p.parse_args()


# ---- children: each function is a process of its own, and imports what its system needs ------------------------------------


def tokenizer_of(a):
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(os.path.join(a.weights, "vocab.txt"), lowercase=True)
    tokenizer.enable_truncation(512)
    return tokenizer


def torch_model(a, attention="sdpa"):
    import torch
    from transformers import DistilBertForSequenceClassification

    torch.set_num_threads(a.threads)
    return DistilBertForSequenceClassification.from_pretrained(a.weights, attn_implementation=attention).eval()


def prepare(a):
    """The sentences in both orders, and the ONNX files."""
    import torch
    from onnxruntime.transformers import optimizer

    texts = read_sentences(os.path.join(a.datasets, "sst2/dev.tsv"))[0][::a.every]
    lengths = [len(e.ids) for e in tokenizer_of(a).encode_batch(texts)]
    by_length = [texts[i] for i in sorted(range(len(texts)), key=lengths.__getitem__)]
    with open(os.path.join(a.folder, "texts.json"), "w", encoding="utf-8") as f:
        json.dump(dict(zip(ORDERS, (by_length, texts))), f)

    class Logits(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, ids, mask):
            return self.model(input_ids=ids, attention_mask=mask).logits

    names, axes = ["input_ids", "attention_mask", "logits"], {0: "batch", 1: "length"}
    example = (torch.full((2, 8), 1000), torch.tensor([[1] * 8, [1] * 5 + [0] * 3]))
    plain, fused = (os.path.join(a.folder, f"{name}.onnx") for name in ("onnx", "onnx-fused"))
    # sdpa's masks come from a function that the exporter cannot follow
    torch.onnx.export(Logits(torch_model(a, "eager")), example, plain, input_names=names[:2], output_names=names[2:],
                      dynamic_axes={names[0]: axes, names[1]: axes, names[2]: {0: "batch"}}, opset_version=17, dynamo=False)
    model = optimizer.optimize_model(plain, model_type="bert", num_heads=12, hidden_size=768, opt_level=1)
    model.save_model_to_file(fused)
    print(json.dumps({"fused": {k: v for k, v in model.get_fused_operator_statistics().items() if v}}))


def answerer(a):
    """texts -> rows of logits, batch by batch."""
    if a.system == "crisp":
        import crisp

        model = crisp.Model(a.weights, threads=a.threads, eval_batch_size=a.batch)
        return lambda texts: [p.logits for p in model.predict(texts)]
    import numpy as np

    tokenizer = tokenizer_of(a)
    tokenizer.enable_padding()
    if a.system.startswith("onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = a.threads
        session = onnxruntime.InferenceSession(os.path.join(a.folder, a.system + ".onnx"), options, providers=["CPUExecutionProvider"])

        def run(ids, mask):
            return session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
    else:
        import torch

        model = torch_model(a)
        if a.system == "torch-compiled":
            model = torch.compile(model, dynamic=True)

        def run(ids, mask):
            with torch.inference_mode():
                return model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.numpy()

    def answer(texts):
        rows = []
        for begin in range(0, len(texts), a.batch):
            encoded = tokenizer.encode_batch(texts[begin:begin + a.batch])
            rows += run(np.array([e.ids for e in encoded]), np.array([e.attention_mask for e in encoded])).tolist()
        return rows

    return answer


def start(a):
    print(answerer(a)(["a moving film"])[0], flush=True)


def one_pass(a):
    with open(os.path.join(a.folder, "texts.json"), encoding="utf-8") as f:
        orders = json.load(f)
    answer, texts = answerer(a), orders[a.order]
    answer(texts[:a.batch] + texts[-a.batch:])
    begin = time.perf_counter()
    logits = answer(texts)
    print(json.dumps({"sentences_per_s": len(texts) / (time.perf_counter() - begin), "logits": logits}))


# ---- the parent: small, since a child's memory at most counts from before its exec ----------------------------------------------


def child_command(a, kind, system, order):
    if system == "crisp-predict":
        return [os.path.join(a.build, "crisp-predict"), "--model", a.weights, "--format", "text", "--threads", str(a.threads),
                os.path.join(a.folder, "one.txt")]
    return [sys.executable, os.path.abspath(__file__), "--child", kind, "--system", system, "--order", order, "--folder", a.folder,
            "--weights", a.weights, "--datasets", a.datasets, "--every", str(a.every), "--threads", str(a.threads), "--batch", str(a.batch)]


def busy_seconds():
    """That all processors together have worked since the start of the machine."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _, _, irq, softirq, steal = (int(x) for x in f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def run_child(a, kind, system="", order=ORDERS[0]):
    """Its first line, the seconds until then, its memory at most, in MB, and the others' part of the machine meanwhile."""
    env = dict(os.environ, CRISP_LIBRARY=os.path.join(a.build, "train/door/install/libcrisp.so"), TOKENIZERS_PARALLELISM="true",
               PYTHONPATH=os.path.join(ROOT, "train/door/python"), PYTHONDONTWRITEBYTECODE="1", HF_HUB_OFFLINE="1")
    with tempfile.TemporaryFile("w+") as errors:
        busy, begin = busy_seconds(), time.perf_counter()
        process = subprocess.Popen(child_command(a, kind, system, order), stdout=subprocess.PIPE, stderr=errors, text=True, env=env)
        line = process.stdout.readline()
        seconds = time.perf_counter() - begin
        for rest in process.stdout:
            line = rest if kind == "prepare" else line
        _, status, usage = os.wait4(process.pid, 0)
        busy, wall = busy_seconds() - busy - usage.ru_utime - usage.ru_stime, time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0 or not line:
            errors.seek(0)
            sys.exit(f"{kind} {system} ended with {process.returncode}:\n{errors.read()[-2000:]}")
    # the machine counts in ticks of 10 ms, so two of them are nothing
    return line, seconds, usage.ru_maxrss * 1024 / 1e6, max(0.0, busy - 0.02) / (wall * os.cpu_count())


def run_alone(a, kind, system, order=ORDERS[0]):
    """The first of three runs that had the machine for itself, or the one that came nearest."""
    runs = []
    for _ in range(3):
        runs.append(run_child(a, kind, system, order))
        if runs[-1][3] <= 0.05:
            break
    return min(runs, key=lambda run: run[3])


def installed_size(names):
    """MB that pip installs for these and what they require, and MB of it without what a GPU needs."""
    from packaging.requirements import Requirement

    found, waiting = {}, list(names)
    while waiting:
        name = waiting.pop()
        distribution = importlib.metadata.distribution(name)
        key = distribution.metadata["Name"].lower().replace("_", "-")
        if key in found:
            continue
        found[key] = distribution
        for text in distribution.requires or []:
            requirement = Requirement(text)
            extras = requirement.extras or {""}
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
                # what an extra of another package brings: cuda-toolkit[cublas,...]
                for inner in importlib.metadata.distribution(requirement.name).requires or []:
                    r = Requirement(inner)
                    if r.marker is not None and any(r.marker.evaluate({"extra": e}) for e in extras):
                        waiting.append(r.name)
    whole = without = 0
    for key, distribution in found.items():
        for file in distribution.files or []:
            path = distribution.locate_file(file)
            if os.path.isfile(path) and not os.path.islink(path):
                size = os.path.getsize(path)
                whole += size
                if not re.match("nvidia|cuda|triton", key) and not re.search(r"lib(torch|c10)_(cuda|nvshmem)", path.name):
                    without += size
    return whole / 1e6, without / 1e6


def crisp_size(file):
    """MB of a program or library, stripped, and of the libraries that it needs beside the C library."""
    with tempfile.NamedTemporaryFile() as stripped:
        subprocess.run(["strip", "-o", stripped.name, file], check=True)
        own = os.path.getsize(stripped.name)
    needed = subprocess.run(["ldd", file], capture_output=True, text=True, check=True).stdout
    others = [p for p in re.findall(r"=> (/\S+)", needed) if not re.match(r"lib(c|m|dl|pthread|rt)\.so", os.path.basename(p))]
    return own / 1e6, sum(os.path.getsize(p) for p in others) / 1e6


def versions():
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo", encoding="utf-8").read())
    names = ("onnxruntime", "torch", "transformers", "tokenizers", "numpy")
    return [cpu[1] if cpu else "CPU unknown", f"Python {sys.version.split()[0]}"] + [f"{n} {importlib.metadata.version(n)}" for n in names]


def training_step(a, log):
    """Milliseconds of a step, median of the rounds: Crisp, PyTorch at its best, PyTorch as most run it."""
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run([sys.executable, compare_pytorch.__file__, "--cases", "f32", "--rounds", str(a.rounds), "--build", a.build,
                        "--datasets", a.datasets, "--peer", a.peer, "--threads", str(a.threads), "--batch", str(a.batch),
                        "--json", file.name],
                       check=True, stdout=subprocess.DEVNULL)
        runs = json.load(open(file.name, encoding="utf-8"))
    log.extend(runs)
    who = sorted({r["who"] for r in runs})
    ms = {w: [r["mean_ms"] for r in runs if r["who"] == w] for w in who}
    speed = {w: [r["sequences_per_s"] for r in runs if r["who"] == w] for w in who}
    best = min((w for w in who if w.startswith("P1")), key=lambda w: statistics.median(ms[w]))
    titles = {"crisp": "Crisp", best: f"PyTorch at its best ({best})", "P0": "PyTorch as most run it"}
    return [(title, ms[w], speed[w]) for w, title in titles.items()]


def largest_differences(passes):
    """Of each system's logits from PyTorch's, and how far apart PyTorch's lie between sentences."""
    reference = {order: passes["torch", order][0]["logits"] for order in ORDERS}
    spread = max(max(column) - min(column) for column in zip(*reference[ORDERS[0]]))
    differences = {}
    for (system, order), runs in passes.items():
        pairs = [pair for run in runs for ours, its in zip(run["logits"], reference[order], strict=True)
                 for pair in zip(ours, its, strict=True)]
        # A NaN is no difference that could be compared.
        worst = max(abs(x - y) if math.isfinite(x - y) else math.inf for x, y in pairs)
        differences[system] = max(differences.get(system, 0.0), worst)
    return spread, differences


def compare(a):
    log = Log(a.json)
    with open(os.path.join(a.folder, "one.txt"), "w", encoding="utf-8") as f:
        f.write("a moving film\n")
    fused = run_child(a, "prepare")[0].strip()
    passing = PASSES + (["torch-compiled"] if a.compile else [])
    starts, passes = {}, {}
    for r in range(a.rounds):
        for system in STARTERS:
            if r == 0:
                run_child(a, "start", system)  # fills the page cache
            _, seconds, megabytes, others = run_alone(a, "start", system)
            starts.setdefault(system, []).append({"seconds": seconds, "megabytes": megabytes, "others": others})
        for system in passing:
            for order in ORDERS:
                line, _, megabytes, others = run_alone(a, "pass", system, order)
                passes.setdefault((system, order), []).append(dict(json.loads(line), megabytes=megabytes, others=others))
        log.append({"case": "inference", "round": r, "start": {s: runs[r] for s, runs in starts.items()},
                    "pass": {f"{s}, {o}": {k: v for k, v in runs[r].items() if k != "logits"} for (s, o), runs in passes.items()}})

    size = os.path.getsize(os.path.join(a.weights, "model.safetensors")) / 1e6
    print(f"{', '.join(versions())}; {a.threads} threads; a checkpoint of {size:.0f} MB; fused: {fused}")
    print(f"medians (least..most) of {a.rounds}, taken in turns\n")
    disturbed = sum(run["others"] > 0.05 for runs in [*starts.values(), *passes.values()] for run in runs)
    print(f"runs that other processes had more than 5 % of the machine in, after three tries: {disturbed}\n")
    print("| | start, s | its memory, MB | sentences/s, sorted | as they come | memory, MB |\n|---|---|---|---|---|---|")
    for system in dict.fromkeys(STARTERS + passing):
        cells = ["-"] * 5
        if system in starts:
            cells[0] = middle([run["seconds"] for run in starts[system]])
            cells[1] = f"{statistics.median(run['megabytes'] for run in starts[system]):.0f}"
        if system in passing:
            for i, order in enumerate(ORDERS, 2):
                cells[i] = middle([run["sentences_per_s"] for run in passes[system, order]])
            cells[4] = f"{max(statistics.median(run['megabytes'] for run in passes[system, o]) for o in ORDERS):.0f}"
        print(f"| {TITLES[system]} | {' | '.join(cells)} |")
    spread, differences = largest_differences(passes)
    print(f"\nlogits of the sentences lie {spread:.3g} apart; largest difference from PyTorch's: "
          + ", ".join(f"{TITLES[s]} {d:.1e}" for s, d in differences.items()) + "\n")
    for file in ("crisp-predict", "train/door/install/libcrisp.so"):
        print("installed: {}, stripped, {:.2f} MB, and {:.2f} MB of libraries".format(file, *crisp_size(os.path.join(a.build, file))))
    for names in (["onnxruntime", "tokenizers", "numpy"], ["torch", "transformers", "tokenizers"]):
        print("installed: {}: {:.0f} MB; {:.0f} MB without what is for GPUs".format(" + ".join(names), *installed_size(names)))
    if not a.no_step:
        for title, ms, speed in training_step(a, log):
            print(f"training step, f32, batch {a.batch}: {title}: {middle(ms)} ms, {middle(speed)} sequences/s")
    if max(differences.values()) > a.tolerance:
        sys.exit(f"void: logits differ by more than {a.tolerance}")


def main():
    a = arguments()
    if a.child:
        return {"prepare": prepare, "start": start, "pass": one_pass}[a.child](a)
    for path in (vocab_file(a), os.path.join(a.build, "crisp-predict"), os.path.join(a.build, "train/door/install/libcrisp.so")):
        if not os.path.exists(path):
            sys.exit(f"{path} is missing; see --help")
    with tempfile.TemporaryDirectory() as a.folder:
        a.weights = compare_pytorch.initial_weights(a, a.folder)
        compare(a)


if __name__ == "__main__":
    main()
