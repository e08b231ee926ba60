"""The README's ten lines of C++, twenty of C and ten of Python, by the README's own commands, from a folder with
nothing else in it, with what cmake --install and pip have installed (without pip, Python has the sources' package):
check_readme.py CMAKE BUILD. Environment: CRISP_LIBRARY, for the wheel."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(SOURCE / "tests" / "train" / "door" / "python"))
import check_wheel  # noqa: E402


def block_of(file, language, has):
    """The fenced block of that language with the text `has` in it."""
    text = (SOURCE / file).read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (block,) = [b for b in blocks if has in b]
    return block


# file: the block, how many lines it may have
PROGRAMS = {
    "app.cpp": (block_of("README.md", "cpp", "FineTuner"), 10),
    "app.c": (block_of("train/door/README.md", "c", "failed ="), 20),
    "app.py": (block_of("README.md", "python", "FineTuner"), 10),
}
COMMANDS = block_of("README.md", "sh", "app.cpp").splitlines()


def run(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}\nended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def main():
    cmake, build = sys.argv[1:]
    absent = [tool for tool in ("g++", "gcc", "pkg-config") if not shutil.which(tool)]
    if absent:
        print(f"[skipped] there is no {absent[0]}")
        return
    with tempfile.TemporaryDirectory() as folder:
        prefix, empty = Path(folder) / "prefix", Path(folder) / "empty"
        for component in ("library", "development", "programs"):
            run([cmake, "--install", build, "--prefix", prefix, "--component", component])
        (library,) = prefix.glob("**/libcrisp.so")
        environment = {
            **os.environ,
            "PATH": f"{prefix / 'bin'}:{os.environ['PATH']}",
            "PKG_CONFIG_PATH": str(library.parent / "pkgconfig"),
            "LD_LIBRARY_PATH": str(library.parent),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        if check_wheel.missing():
            environment.update(PYTHONPATH=str(SOURCE / "train" / "door" / "python"), CRISP_LIBRARY=str(library))
        else:
            environment["PYTHONPATH"] = str(check_wheel.install(Path(folder))[1])
            del environment["CRISP_LIBRARY"]
        empty.mkdir()
        for name, (text, most) in PROGRAMS.items():
            lines = [line for line in text.splitlines() if line.strip()]
            assert len(lines) <= most, f"{name} has {len(lines)} lines, and the README promises {most}"
            (empty / name).write_text(text, encoding="utf-8")
        train, *starts = COMMANDS
        run(train, shell=True, cwd=empty, env=environment)
        predict = ["crisp-predict", "--model", "out", "--format", "text", "--json", "-"]
        before = json.loads(run(predict, cwd=empty, env=environment, input="a moving film"))["probabilities"][1]
        answers = []
        for command in starts:
            output = run(command, shell=True, cwd=empty, env=environment)
            score, gradient = [float(x) for x in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", output)][-2:]
            # of a softmax the derivative of a label's loss for its own logit, which the bias is added to
            assert abs(gradient - (score - 1)) < 1e-5, f"{command}\n{output}"
            assert abs(score - before) > 1e-5, f"{command}: five examples changed nothing: {before}, {output}"
            answers.append((score, gradient))
        assert len(answers) == len(PROGRAMS)
        assert all(abs(x - y) < 1e-5 for a in answers for x, y in zip(a, answers[0])), answers
        print(f"C++, C and Python: {before:.5f} before, {answers[0][0]:.5f} after; gradient {answers[0][1]:.5f}")


main()
