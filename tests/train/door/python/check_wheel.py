"""Builds a wheel around the library of this build, installs it into an empty folder and uses it from there.
Environment: CRISP_LIBRARY, CRISP_SAMPLE."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PROGRAM = """
import crisp

tuner = crisp.FineTuner({sample!r}, [("a moving film", 1), ("the plot is dull", 0)], max_steps=2)
tuner.run()
model = tuner.model()
print(model.predict("a moving film").label_name)
print(model.gradient("a moving film", loss=1, of="classifier.bias").shape)
"""


def missing():
    """What a wheel cannot be made without."""
    modules = ("pip", "setuptools", "wheel")
    return [f"Python has no {module}" for module in modules if importlib.util.find_spec(module) is None]


def install(folder):
    """Makes a wheel and installs it below the folder: the wheel's file, and what PYTHONPATH needs."""
    source = Path(__file__).resolve().parents[4] / "train" / "door" / "python"
    # A copy: setuptools leaves its work beside the source.
    copy = Path(folder) / "checkout" / "train" / "door" / "python"
    copy.mkdir(parents=True)
    modules = ("crisp/__init__.py", "crisp/_library.py", "crisp/_values.py", "crisp/py.typed")
    for file in ("pyproject.toml", "setup.py", *modules):
        (copy / file).parent.mkdir(exist_ok=True)
        (copy / file).write_bytes((source / file).read_bytes())
    (Path(folder) / "checkout" / "CMakeLists.txt").write_bytes((source.parents[2] / "CMakeLists.txt").read_bytes())
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    wheels = Path(folder) / "wheels"
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", wheels, copy], check=True
    )
    (wheel,) = wheels.iterdir()
    installed = Path(folder) / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", installed, wheel], check=True)
    return wheel, installed


def main():
    if missing():
        print(f"[skipped] {'; '.join(missing())}")
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel, installed = install(folder)
        assert "-py3-none-linux_" in wheel.name, wheel.name
        environment = {k: v for k, v in os.environ.items() if k != "CRISP_LIBRARY"}
        environment["PYTHONPATH"] = str(installed)
        program = PROGRAM.format(sample=os.environ["CRISP_SAMPLE"])
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, cwd=folder, capture_output=True, text=True, check=True
        )
        assert done.stdout.split("\n")[1] == "(2,)", done
        print(f"{wheel.name} works")


if __name__ == "__main__":
    main()
