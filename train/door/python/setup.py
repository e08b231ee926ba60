"""The wheel: the package with libcrisp.so in it, which needs the C library alone. From a checkout:
pip install ./train/door/python. CMake builds the library, in the folder build-python of the checkout or in the one that
CRISP_BUILD names; CRISP_LIBRARY names a library that was built before."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.build_py import build_py

try:
    from setuptools.command.bdist_wheel import bdist_wheel
except ImportError:  # before setuptools 70
    from wheel.bdist_wheel import bdist_wheel

above = list(Path(__file__).resolve().parents)
if len(above) < 4 or not (above[3] / "CMakeLists.txt").exists():
    sys.exit("Crisp's Python package is built in a checkout of Crisp: pip install ./train/door/python")
root = above[3]
version = re.search(r"project\(crisp VERSION ([0-9.]+)", (root / "CMakeLists.txt").read_text())[1]
soname = "libcrisp.so." + ".".join(version.split(".")[:2])


class BuildWithLibrary(build_py):
    def run(self):
        super().run()
        library = os.environ.get("CRISP_LIBRARY") or self.build_library()
        with open(library, "rb") as file:
            if file.read(4) != b"\x7fELF":
                sys.exit(f"{library}: is no shared library")
        editable = getattr(self, "editable_mode", False)
        shutil.copyfile(library, (Path(__file__).parent if editable else Path(self.build_lib)) / "crisp" / soname)

    def build_library(self):
        if not shutil.which("cmake"):
            sys.exit("To build Crisp's library takes CMake; CRISP_LIBRARY may name one that was built before.")
        build = root / os.environ.get("CRISP_BUILD", "build-python")
        options = ["-DCRISP_BUILD_TESTS=OFF", "-DCRISP_BUILD_TOOLS=OFF", "-DCRISP_CUDA=OFF", "-DCRISP_STANDALONE=ON",
                   f"-DCMAKE_SHARED_LINKER_FLAGS={os.environ.get('LDFLAGS', '')} -Wl,--strip-all"]
        if shutil.which("ninja"):
            options += ["-G", "Ninja"]
        subprocess.run(["cmake", "-S", root, "-B", build, *options], check=True)
        jobs = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)  # make would start all at once
        subprocess.run(["cmake", "--build", build, "--target", "crisp_shared", "--parallel", jobs], check=True)
        return build / "train" / "door" / "install" / soname


class OfThisPlatform(Distribution):
    def has_ext_modules(self):
        return True


class AnyPython3(bdist_wheel):
    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


setup(
    version=version,
    packages=["crisp"],
    package_data={"crisp": ["py.typed"]},
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": AnyPython3},
    distclass=OfThisPlatform,
)
