"""What goes to the library and comes back: errors, texts, paths, numbers, examples, handles, arrays."""

import ctypes
import operator
import os
from ctypes import byref, c_double, c_void_p
from typing import Callable, Iterable, List, Mapping, Optional, Tuple, Union

from . import _library as c
from ._library import library as _lib

Path = Union[str, bytes, "os.PathLike[str]"]
Source = Union[Path, Mapping[str, bytes]]  # a path or a name, or a model's files by name
Example = Tuple[str, int]  # text and label


class Error(RuntimeError):
    """A failure at run time, and the base of the others."""


class UsageError(Error, ValueError):
    """Settings, arguments or an order of calls that make no sense."""


class BadInput(Error, ValueError):
    """Files that cannot be used as what they claim to be."""


class NotFinite(Error, ArithmeticError):
    """A logit, loss or gradient that is no number."""


class OutOfMemory(Error, MemoryError):
    pass


_errors = {2: UsageError, 3: BadInput, 4: NotFinite, 5: OutOfMemory}


def check(code: int) -> None:
    if code:
        raise _errors.get(code, Error)(_lib.crisp_last_error().decode(errors="replace"))


def encode(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise UsageError(f"{what} must be a str, not {type(text).__name__}")
    encoded = text.encode("utf-8", "surrogatepass")
    if b"\0" in encoded:
        raise UsageError(f"{what} has a NUL character")
    return encoded


def encode_path(path: Path) -> bytes:
    try:
        encoded = os.fsencode(path)
    except TypeError:
        raise UsageError(f"a path must be a str, bytes or os.PathLike, not {type(path).__name__}") from None
    if b"\0" in encoded:
        raise UsageError("a path has a NUL character")
    return encoded


def small_int(value: int, what: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"{what} must be a whole number, not {value!r}") from None
    if not -(2**31) <= number < 2**31:
        raise UsageError(f"{what} {number}; it is a small number from 0")
    return number


def encode_setting(name: str, value: object) -> bytes:
    if name == "label_names":
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise UsageError("label_names must be a list of names")
        value = [encode(label, "a label's name").decode() for label in value]
        for label in value:
            if not label or "," in label or label != label.strip():
                what = f"{label!r} has a comma, or spaces around it" if label else "a name is empty"
                raise UsageError(f"label_names: {what}")
    if not isinstance(value, str) and str(value) in ("True", "False"):  # numpy's, too
        return b"on" if str(value) == "True" else b"off"
    if not isinstance(value, str) and isinstance(value, Iterable):
        value = ",".join(str(v) for v in value)
        if not value and name == "keep":
            return b"none"
        if not value:
            raise UsageError(f"{name} is an empty list; None is the default")
    return encode(str(value), name)


class Handle:
    """One of the library's, freed with this object."""

    def __init__(self, free: Callable[[c_void_p], None]) -> None:
        self.pointer = c_void_p()
        self._free = free

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        pointer, self.pointer = self.pointer, c_void_p()
        if pointer:
            self._free(pointer)

    def __call__(self) -> c_void_p:
        if not self.pointer:
            raise UsageError("it is closed")
        return self.pointer

    def __reduce_ex__(self, protocol: object) -> object:
        raise UsageError("what the library holds can be neither copied nor pickled; save it instead")


class Context:
    """The settings of one model or tuner, and what its log function raised."""

    def __init__(self, settings: Mapping[str, object], log: Optional[Callable[[str], None]]) -> None:
        if log is not None and not callable(log):
            raise UsageError(f"log must be a function, not {log!r}")
        self.raised: List[BaseException] = []
        self.handle = Handle(_lib.crisp_context_free)
        check(_lib.crisp_context_new(byref(self.handle.pointer)))
        keys = set()
        for name, value in settings.items():
            if value is None:
                continue
            key = name.replace("-", "_")
            if key in keys:
                raise UsageError(f"{key} is given twice, spelt with - and with _; give it once")
            keys.add(key)
            check(_lib.crisp_context_set(self.handle(), encode(name, "a name"), encode_setting(key, value)))
        if log is None:
            return

        def call(user: object, line: bytes) -> None:
            try:
                log(line.decode(errors="replace"))
            except BaseException as error:
                self.raised.append(error)

        self.function = c.LogFunction(call)
        check(_lib.crisp_context_set_log(self.handle(), self.function, None))

    def check(self, code: int) -> None:
        if self.raised:
            raise self.raised[0]
        check(code)


def file_array(files: Mapping[str, bytes]) -> "ctypes.Array[c.File]":
    array = (c.File * len(files))()
    array.kept = []  # type: ignore[attr-defined]
    for slot, (name, content) in zip(array, files.items()):
        view = memoryview(content).cast("B")
        if view.readonly:
            content = view.tobytes() if not isinstance(content, bytes) else content
            address = ctypes.cast(ctypes.c_char_p(content), c_void_p).value
        else:
            content = (ctypes.c_char * len(view)).from_buffer(view)
            address = ctypes.addressof(content)
        array.kept.append(content)  # type: ignore[attr-defined]
        slot.name, slot.data, slot.size = encode(name, "a file's name"), address, len(view)
    return array


def example_array(examples: Iterable[Example]) -> Tuple["ctypes.Array[c.Example]", int]:
    try:
        pairs = [(text, label) for text, label in examples]
    except (TypeError, ValueError):
        raise UsageError("examples must be pairs of a text and a label") from None
    array = (c.Example * len(pairs))()
    for slot, (text, label) in zip(array, pairs):
        slot.text, slot.label = encode(text, "a text"), small_int(label, "the label")
    return array, len(pairs)


def flatten(values: object, shape: List[int], depth: int, out: List[float]) -> None:
    """Nested lists, or what has a tolist(), row by row; `shape` grows as it is found out."""
    if not isinstance(values, (list, tuple)):
        try:
            out.append(float(values))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise UsageError(f"a parameter's values must be numbers, not {values!r}") from None
        return
    if len(shape) == depth:
        shape.append(len(values))
    if shape[depth] != len(values):
        raise UsageError("a parameter's values must be rows of one length")
    for value in values:
        flatten(value, shape, depth + 1, out)


def view_of(result: "ctypes._Pointer[c.Array]") -> memoryview:
    """A view of what the result holds, which is freed with the last view."""
    owner = Handle(_lib.crisp_free)
    owner.pointer = ctypes.cast(result, c_void_p)
    head = result.contents
    shape = [head.shape[i] for i in range(head.rank)]
    values = (c_double * head.size).from_address(ctypes.addressof(head.values.contents))
    values.owner = owner  # type: ignore[attr-defined]
    view = memoryview(values).cast("B").cast("d", shape) if shape else memoryview(values)
    return view
