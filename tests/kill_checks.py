"""What kill_runs expects of the directories of runs and studies."""
import hashlib
import json
import math
import pathlib
import shutil
import subprocess
import tempfile

# Of a run's results and log, what a clock or the number of starts decides.
CLOCKS = {"train_runtime", "train_tokens_per_second", "tokens_per_second", "peak_tensor_bytes", "peak_resident_bytes",
          "startup_seconds", "threads"}
PUBLISHED = ("model.safetensors", "config.json", "vocab.txt", "all_results.json", "dev_predictions.jsonl")
STEPS, EVERY = 36, 3  # of each run: optimizer steps; steps from evaluation to evaluation


class Lost(Exception):
    pass


def expect(condition, *what):
    if not condition:
        raise Lost(" ".join(map(str, what)))


def timeless(values):
    return {key: value for key, value in values.items() if key not in CLOCKS}


def load(path):
    return json.loads(path.read_text())


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def has_ended(run):
    return (run / "all_results.json").exists() and "settings" in load(run / "all_results.json")


class Reference:
    """An uninterrupted run."""

    def __init__(self, directory):
        self.directory = directory
        self.lines = [timeless(json.loads(line)) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        self.evaluations = {line["step"]: line for line in self.lines if "eval_loss" in line}
        self.results = timeless(load(directory / "all_results.json"))
        self.last = self.results["settings"]["select"] == "last"
        self.published, best = [], -1  # steps
        for step, line in self.evaluations.items():
            if line["eval_correct"] > best:
                best = line["eval_correct"]
                self.published.append(step)
        if self.last:
            self.published = [STEPS]
        self.names = sorted(path.name for path in directory.glob("checkpoint-*"))

    def check_set(self, bench, directory):
        """Files of one publication: the step that they are of. Its predictions are those that crisp-predict makes."""
        missing = [name for name in PUBLISHED[1:] if not (directory / name).exists()]
        expect(not missing, directory, "has a model without", missing)
        for name in ("config.json", "vocab.txt"):
            expect(sha256(directory / name) == sha256(self.directory / name), directory / name, "is not the model's")
        results = load(directory / "all_results.json")
        step = results["best_step" if "settings" in results and not self.last else "step"]
        expect(step in self.evaluations, directory, "is of step", step)
        for key in ("eval_loss", "eval_correct", "eval_total"):
            expect(results[key] == self.evaluations[step][key], directory, key, results[key], "at step", step)
        answers = subprocess.run([bench.programs / "crisp-predict", "--json", "--threads", "1", "--model", directory,
                                  bench.work / "dev.txt"], capture_output=True, text=True, check=False)
        expect(answers.returncode == 0, directory, "cannot be loaded:", answers.stderr)
        saved = (directory / "dev_predictions.jsonl").read_text().splitlines()
        for now, then in zip(answers.stdout.splitlines(), saved, strict=True):
            pairs = zip(json.loads(now)["logits"], json.loads(then)["logits"], strict=True)
            expect(all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5) for a, b in pairs), directory, now, then)
        return step

    def check_published(self, bench, out, former=None):
        """The step that readers find, -1: none. `former`: of whom the files at the top may be still."""
        pending = out / ".crisp-publication"
        if not pending.is_dir():
            return self.check_set(bench, out) if (out / "model.safetensors").exists() else -1
        if (out / "model.safetensors").exists():  # a program that knows nothing of .crisp-publication
            plain = pathlib.Path(tempfile.mkdtemp(dir=bench.work))
            for name in PUBLISHED:
                if (out / name).exists():
                    shutil.copy(out / name, plain)
            old = former and sha256(plain / "config.json") == sha256(former.directory / "config.json")
            (former if old else self).check_set(bench, plain)
            shutil.rmtree(plain)
        return self.check_set(bench, pending)

    def check_run(self, bench, run):
        """Where a run writes (`run`): its newest checkpoint's step; -1: none. And the log, against which it is held."""
        newest = -1
        for checkpoint in run.glob("checkpoint-*"):
            manifest = load(checkpoint / "manifest.json")
            for name, file in manifest["files"].items():
                expect(sha256(checkpoint / name) == file["sha256"], checkpoint / name, "is damaged")
            newest = max(newest, manifest["step"])
        log, trained = run / "metrics.jsonl", 0
        for line in log.read_text().splitlines(keepends=True) if log.exists() else []:
            if not line.endswith("\n"):  # the kill fell into the system's own writing of it
                bench.cut_lines += 1
                break
            values = json.loads(line)
            trained = values["step"] if "loss" in values else trained
        saved = (trained - 1) // EVERY * EVERY  # by whoever went on to that step
        expect(newest >= saved or saved <= 0 or has_ended(run), run, "trained step", trained, "and kept checkpoint", newest)
        return newest

    def check_end(self, bench, out):
        for name in ("model.safetensors", "config.json", "vocab.txt", "dev_predictions.jsonl"):
            expect((out / name).exists() == (self.directory / name).exists(), name, "is or is not in", out)
            if (out / name).exists():
                expect(sha256(out / name) == sha256(self.directory / name), out / name, "has other bits")
        expect(timeless(load(out / "all_results.json")) == self.results, out, "has other results")
        lines = [timeless(json.loads(line)) for line in (out / "metrics.jsonl").read_text().splitlines()]
        expect(lines == self.lines, out, "has another log")
        expect(sorted(path.name for path in out.glob("checkpoint-*")) == self.names, out, "has other checkpoints")
        left = [path.name for path in out.iterdir() if path.name.startswith(".")]
        expect(not left, out, "still has", left)


def check_former(former, before, reference, bench, out):
    """Whether the run at `out` has taken the place of the finished one, which is whole until then."""
    pending = out / ".crisp-publication"
    config = (pending if pending.exists() else out) / "config.json"
    if config.read_bytes() == (reference.directory / "config.json").read_bytes():
        return True
    now = tree(out)
    expect(now == before, out, "the former run's files changed:", set(now.items()) ^ set(before.items()))
    former.check_published(bench, out)
    return False


def tree(directory):
    return {str(path.relative_to(directory)): sha256(path) for path in directory.rglob("*")
            if path.is_file() and not path.relative_to(directory).parts[0].startswith(".")}


def study_runs(out):
    return sorted(path for path in (out / "runs").glob("*/seed-*") if path.is_dir())


def study_state(out):
    """Finished runs, each with what identifies its results."""
    done = {}
    for run in study_runs(out):
        status = run / "study_status.json"
        if status.exists() and load(status)["status"] == "complete":
            files = [run / name for name in ("all_results.json", "metrics.jsonl", "dev_predictions.jsonl")]
            done[run] = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files] + [load(status)["starts"]]
    return done
