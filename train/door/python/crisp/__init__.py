"""Crisp in Python: load, predict, differentiate and fine-tune DistilBERT and BERT classifiers.

Over the C interface, crisp.h, by ctypes: nothing is needed beside Python and the shared library. Arrays are memory
views of doubles with a shape, which numpy.asarray() takes without a copy.

    import crisp

    model = crisp.Model("out")
    print(model.predict("a moving film").label_name)
    print(model.gradient("a moving film", loss=1, of="classifier.bias").tolist())

Any number of threads may use one Model, but for set_parameter() and close(); a FineTuner is for one thread at a time.
The interpreter is free for other threads while the library computes.
"""

import ctypes
import operator
import os
from ctypes import byref, c_double, c_int, c_int32, c_size_t, c_void_p
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union, overload

from . import _library as c
from ._library import library as _lib

__all__ = [
    "BadInput",
    "Error",
    "Evaluation",
    "FineTuner",
    "Model",
    "NotFinite",
    "Prediction",
    "Step",
    "Token",
    "UsageError",
    "version",
]

version: str = _lib.crisp_version().decode()

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


class _OutOfMemory(Error, MemoryError):
    pass


class Prediction(NamedTuple):
    label: int
    label_name: str
    logits: List[float]
    scores: List[float]  # probabilities; of a regression the logits

    @property
    def score(self) -> float:
        return self.scores[self.label]


class Token(NamedTuple):
    id: int
    piece: str
    begin: int  # its bytes of the text in UTF-8; 0, 0 for [CLS] and [SEP]
    end: int


class Step(NamedTuple):
    step: int
    total_steps: int
    epoch: float
    loss: float
    grad_norm: float
    learning_rate: float


class Evaluation(NamedTuple):
    step: int
    correct: int
    total: int
    loss: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.total if self.total else 0.0


_errors = {2: UsageError, 3: BadInput, 4: NotFinite, 5: _OutOfMemory}


def _check(code: int) -> None:
    if code:
        raise _errors.get(code, Error)(_lib.crisp_last_error().decode(errors="replace"))


def _bytes(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise UsageError(f"{what} must be a str, not {type(text).__name__}")
    encoded = text.encode("utf-8", "surrogatepass")
    if b"\0" in encoded:
        raise UsageError(f"{what} has a NUL character")
    return encoded


def _path(path: Path) -> bytes:
    try:
        encoded = os.fsencode(path)
    except TypeError:
        raise UsageError(f"a path must be a str, bytes or os.PathLike, not {type(path).__name__}") from None
    if b"\0" in encoded:
        raise UsageError("a path has a NUL character")
    return encoded


def _small(value: int, what: str) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"{what} must be a whole number, not {value!r}") from None
    if not -(2**31) <= number < 2**31:
        raise UsageError(f"{what} {number}; it is a small number from 0")
    return number


def _setting(name: str, value: object) -> bytes:
    if name == "new_head":
        return b"on" if value else b"off"
    if name == "label_names":
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise UsageError("label_names must be a list of names")
        names = [_bytes(v, "a label's name") for v in value]
        for label in names:
            if b"," in label or label != label.strip():
                raise UsageError(f"label_names: {label.decode(errors='replace')!r} has a comma, or spaces around it")
        return b",".join(names)
    if name == "sparsity" and not isinstance(value, str) and isinstance(value, Iterable):
        value = ",".join(str(v) for v in value)
    return _bytes(str(value), name)


class _Handle:
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


class _Context:
    """The settings of one model or tuner, and what its log function raised."""

    def __init__(self, settings: Mapping[str, object], log: Optional[Callable[[str], None]]) -> None:
        if log is not None and not callable(log):
            raise UsageError(f"log must be a function, not {log!r}")
        self.raised: List[BaseException] = []
        self.handle = _Handle(_lib.crisp_context_free)
        _check(_lib.crisp_context_new(byref(self.handle.pointer)))
        for name, value in settings.items():
            if value is not None:
                setting = _setting(name, value)
                _check(_lib.crisp_context_set(self.handle(), _bytes(name.replace("_", "-"), "a name"), setting))
        if log is None:
            return

        def call(user: object, line: bytes) -> None:
            try:
                log(line.decode(errors="replace"))
            except BaseException as error:
                self.raised.append(error)

        self.function = c.LogFunction(call)
        _check(_lib.crisp_context_set_log(self.handle(), self.function, None))

    def check(self, code: int) -> None:
        if self.raised:
            raise self.raised[0]
        _check(code)


def _files(files: Mapping[str, bytes]) -> "ctypes.Array[c.File]":
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
        slot.name, slot.data, slot.size = _bytes(name, "a file's name"), address, len(view)
    return array


def _examples(examples: Iterable[Example]) -> Tuple["ctypes.Array[c.Example]", int]:
    try:
        pairs = [(text, label) for text, label in examples]
    except (TypeError, ValueError):
        raise UsageError("examples must be pairs of a text and a label") from None
    array = (c.Example * len(pairs))()
    for slot, (text, label) in zip(array, pairs):
        slot.text, slot.label = _bytes(text, "a text"), _small(label, "the label")
    return array, len(pairs)


def _flat(values: object, shape: List[int], depth: int, out: List[float]) -> None:
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
        _flat(value, shape, depth + 1, out)


def _array(result: "ctypes._Pointer[c.Array]") -> memoryview:
    """A view of what the result holds, which is freed with the last view."""
    owner = _Handle(_lib.crisp_free)
    owner.pointer = ctypes.cast(result, c_void_p)
    head = result.contents
    shape = [head.shape[i] for i in range(head.rank)]
    values = (c_double * head.size).from_address(ctypes.addressof(head.values.contents))
    values.owner = owner  # type: ignore[attr-defined]
    view = memoryview(values).cast("B").cast("d", shape) if shape else memoryview(values)
    return view


class Model:
    """A classifier. `source`: a directory or file, the name of a model in Hugging Face's cache, or a model's files in
    memory, {"model.safetensors": bytes, "config.json": bytes, ...}. `log` takes lines on what was assumed in loading.
    """

    def __init__(
        self,
        source: Source,
        *,
        threads: int = 0,
        precision: str = "f32",
        device: str = "cpu",
        max_length: int = 0,
        eval_batch_size: int = 64,
        log: Optional[Callable[[str], None]] = None,
    ) -> None:
        settings = {
            "threads": threads,
            "precision": precision,
            "device": device,
            "max_length": max_length,
            "eval_batch_size": eval_batch_size,
        }
        context = _Context(settings, log)
        handle = _Handle(_lib.crisp_model_free)
        if isinstance(source, Mapping):
            code = _lib.crisp_model_load_memory(context.handle(), _files(source), len(source), byref(handle.pointer))
        else:
            code = _lib.crisp_model_load(context.handle(), _path(source), byref(handle.pointer))
        context.check(code)
        self._adopt(handle, context)

    def _adopt(self, handle: _Handle, context: _Context) -> None:
        self._model, self._context = handle, context
        count = c_int32()
        _check(_lib.crisp_model_num_labels(handle(), byref(count)))
        self.label_names: List[str] = []
        for label in range(count.value):
            name = ctypes.c_char_p()
            _check(_lib.crisp_model_label_name(handle(), label, byref(name)))
            self.label_names.append(name.value.decode())
        size = c_size_t()
        _check(_lib.crisp_model_parameter_count(handle(), byref(size)))
        self.parameter_names: List[str] = []
        for i in range(size.value):
            name = ctypes.c_char_p()
            _check(_lib.crisp_model_parameter_name(handle(), i, byref(name)))
            self.parameter_names.append(name.value.decode())

    def close(self) -> None:
        """Frees the model now, not with the object."""
        self._model.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @overload
    def predict(self, texts: str) -> Prediction: ...
    @overload
    def predict(self, texts: Sequence[str]) -> List[Prediction]: ...
    def predict(self, texts):
        """The answer for a text, or a list of them for a list."""
        if isinstance(texts, str):
            return self.predict([texts])[0]
        if not isinstance(texts, Iterable):
            raise UsageError(f"texts must be a str or a list of them, not {type(texts).__name__}")
        texts = list(texts)
        n, labels = len(texts), len(self.label_names)
        strings = (ctypes.c_char_p * n)(*[_bytes(t, "a text") for t in texts])
        chosen, logits, scores = (c_int32 * n)(), (c_double * (n * labels))(), (c_double * (n * labels))()
        _check(_lib.crisp_model_predict(self._model(), strings, n, chosen, logits, scores))
        return [
            Prediction(
                chosen[i],
                self.label_names[chosen[i]],
                logits[i * labels : (i + 1) * labels],
                scores[i * labels : (i + 1) * labels],
            )
            for i in range(n)
        ]

    def tokenize(self, text: str) -> List[Token]:
        """The text as the model sees it, cut to max_length."""
        result = ctypes.POINTER(c.Tokens)()
        _check(_lib.crisp_model_tokenize(self._model(), _bytes(text, "a text"), byref(result)))
        try:
            tokens = result.contents.tokens[: result.contents.count]
            return [Token(t.id, t.piece.decode(errors="replace"), t.begin, t.end) for t in tokens]
        finally:
            _lib.crisp_free(result)

    def attention(self, text: str, layer: int) -> memoryview:
        """The attention weights of a layer, [heads, tokens, tokens]."""
        result = ctypes.POINTER(c.Array)()
        number = _small(layer, "the layer")
        _check(_lib.crisp_model_attention(self._model(), _bytes(text, "a text"), number, byref(result)))
        return _array(result)

    def hidden(self, text: str, layer: int) -> memoryview:
        """What the embeddings (layer 0) or layer 1, 2, ... give, [tokens, dim]."""
        result = ctypes.POINTER(c.Array)()
        number = _small(layer, "the layer")
        _check(_lib.crisp_model_hidden(self._model(), _bytes(text, "a text"), number, byref(result)))
        return _array(result)

    def parameter(self, name: str) -> memoryview:
        """A copy of a parameter, in its shape."""
        result = ctypes.POINTER(c.Array)()
        _check(_lib.crisp_model_parameter(self._model(), _bytes(name, "a name"), byref(result)))
        return _array(result)

    def set_parameter(self, name: str, values: object) -> None:
        """`values`: nested lists of numbers in the parameter's shape, or a flat list row by row; or what has a
        tolist(), a memory view or a numpy array. Those of doubles are taken as they are."""
        try:
            view = memoryview(values)  # type: ignore[arg-type]
        except TypeError:
            view = None
        shape: List[int] = []
        if view is not None and view.format == "d" and view.c_contiguous and view.nbytes > 0:
            shape, size = list(view.shape), view.nbytes // 8
            numbers = (c_double * size).from_buffer_copy(view.cast("B"))
        else:
            if isinstance(values, (str, bytes, bytearray, Mapping)):
                raise UsageError(f"a parameter's values must be numbers, not {type(values).__name__}")
            if hasattr(values, "tolist"):
                values = values.tolist()
            flat: List[float] = []
            _flat(list(values) if isinstance(values, Iterable) else values, shape, 0, flat)
            size, numbers = len(flat), (c_double * len(flat))(*flat)
        if len(shape) > 1 and tuple(shape) != self.parameter(name).shape:
            raise UsageError(f"{name} has the shape {self.parameter(name).shape}, not {tuple(shape)}")
        _check(_lib.crisp_model_set_parameter(self._model(), _bytes(name, "a name"), numbers, size))

    def gradient(
        self, text: str, *, loss: Optional[int] = None, logit: Optional[int] = None, of: Optional[str] = None
    ) -> memoryview:
        """Of the loss of a label, or of a logit: for a parameter, in its shape, or for the tokens, [tokens, dim]."""
        return self.value_and_gradient(text, loss=loss, logit=logit, of=of)[1]

    def value_and_gradient(
        self, text: str, *, loss: Optional[int] = None, logit: Optional[int] = None, of: Optional[str] = None
    ) -> Tuple[float, memoryview]:
        """The same with the loss, or the logit, in front."""
        if (loss is None) == (logit is None):
            raise UsageError("a gradient is of a loss or of a logit: give loss=LABEL or logit=LABEL")
        result, value = ctypes.POINTER(c.Array)(), c_double()
        name = None if of is None else _bytes(of, "a name")
        objective, label = (0, _small(loss, "the label")) if logit is None else (1, _small(logit, "the label"))
        _check(
            _lib.crisp_model_gradient(
                self._model(), _bytes(text, "a text"), objective, label, name, byref(value), byref(result)
            )
        )
        return value.value, _array(result)


class FineTuner:
    """Fine-tunes a model on (text, label) pairs with the numbers of crisp-train. `settings` are its options with _ for
    -: learning_rate, epochs, max_steps, batch_size, gradient_accumulation_steps, warmup_ratio, weight_decay,
    max_grad_norm, seed, dropout, sparsity, sparse_method, label_names, new_head, eval_steps, threads, precision,
    device, max_length, eval_batch_size.
    """

    def __init__(
        self,
        source: Source,
        train: Iterable[Example],
        evaluation: Iterable[Example] = (),
        *,
        log: Optional[Callable[[str], None]] = None,
        **settings: object,
    ) -> None:
        self._context = context = _Context(settings, log)
        self._tuner = _Handle(_lib.crisp_tuner_free)
        rest = (*_examples(train), *_examples(evaluation), byref(self._tuner.pointer))
        if isinstance(source, Mapping):
            code = _lib.crisp_tuner_new_memory(context.handle(), _files(source), len(source), *rest)
        else:
            code = _lib.crisp_tuner_new(context.handle(), _path(source), *rest)
        context.check(code)

    def close(self) -> None:
        """Frees it now, not with the object."""
        self._tuner.close()

    def __enter__(self) -> "FineTuner":
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    @property
    def finished(self) -> bool:
        finished = c_int()
        _check(_lib.crisp_tuner_finished(self._tuner(), byref(finished)))
        return bool(finished.value)

    def step(self) -> Step:
        """One optimizer step."""
        step = c.Step()
        _check(_lib.crisp_tuner_step(self._tuner(), byref(step)))
        return _tuple(Step, step)

    def run(
        self,
        on_step: Optional[Callable[[Step], Optional[bool]]] = None,
        on_evaluation: Optional[Callable[[Evaluation], Optional[bool]]] = None,
    ) -> bool:
        """To the end. A function whose result is false (and not None) stops it, and so does one that raises, or Ctrl-C
        between two steps; another run() goes on from there, to the same bits. False: it was stopped."""
        event, step, evaluation = c_int(), c.Step(), c.Evaluation()
        while True:
            _check(_lib.crisp_tuner_next(self._tuner(), byref(event), byref(step), byref(evaluation)))
            if event.value == 0:
                return True
            told = None
            if event.value == 1 and on_step is not None:
                told = on_step(_tuple(Step, step))
            if event.value == 2 and on_evaluation is not None:
                told = on_evaluation(_tuple(Evaluation, evaluation))
            if told is not None and not told:
                return False

    def evaluate(self, examples: Iterable[Example]) -> Evaluation:
        """With the weights as they are now."""
        result = c.Evaluation()
        _check(_lib.crisp_tuner_evaluate(self._tuner(), *_examples(examples), byref(result)))
        return _tuple(Evaluation, result)

    def model(self) -> Model:
        """A copy of the model as it is now."""
        handle = _Handle(_lib.crisp_model_free)
        _check(_lib.crisp_tuner_model(self._tuner(), byref(handle.pointer)))
        model = Model.__new__(Model)
        model._adopt(handle, self._context)
        return model

    def save(self, directory: Path, *, replace: bool = False) -> None:
        """Into a directory, which transformers' from_pretrained() takes."""
        _check(_lib.crisp_tuner_save(self._tuner(), _path(directory), int(bool(replace))))

    def save_to_memory(self) -> Dict[str, bytes]:
        """The same files."""
        result = ctypes.POINTER(c.Files)()
        _check(_lib.crisp_tuner_save_memory(self._tuner(), byref(result)))
        try:
            files = result.contents.files[: result.contents.count]
            return {f.name.decode(): ctypes.string_at(f.data, f.size) for f in files}
        finally:
            _lib.crisp_free(result)


def _tuple(kind: type, structure: ctypes.Structure):
    return kind(*[getattr(structure, name) for name in kind._fields])
