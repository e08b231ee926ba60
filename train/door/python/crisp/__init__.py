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

Source = Union[str, Mapping[str, bytes]]  # a path or a name, or a model's files by name
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


_stopped = 6
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


def _setting(value: object) -> bytes:
    if isinstance(value, bool):
        return b"on" if value else b"off"
    if isinstance(value, (list, tuple)):
        return ",".join(str(v) for v in value).encode()
    return _bytes(str(value), "a setting")


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


def _context(settings: Mapping[str, object], log: Optional[Callable[[str], None]]) -> Tuple[_Handle, object]:
    context = _Handle(_lib.crisp_context_free)
    _check(_lib.crisp_context_new(byref(context.pointer)))
    for name, value in settings.items():
        if value is not None:
            _check(_lib.crisp_context_set(context(), _bytes(name.replace("_", "-"), "a name"), _setting(value)))
    function = c.LogFunction()  # null
    if log is not None:
        function = c.LogFunction(lambda user, line: log(line.decode(errors="replace")))
        _check(_lib.crisp_context_set_log(context(), function, None))
    return context, function


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
    pairs = list(examples)
    array = (c.Example * len(pairs))()
    for slot, (text, label) in zip(array, pairs):
        if not -(2**31) <= label < 2**31:
            raise UsageError(f"the label {label}; labels are small numbers from 0")
        slot.text, slot.label = _bytes(text, "a text"), label
    return array, len(pairs)


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
        context, self._log = _context(settings, log)
        handle = _Handle(_lib.crisp_model_free)
        if isinstance(source, Mapping):
            _check(_lib.crisp_model_load_memory(context(), _files(source), len(source), byref(handle.pointer)))
        else:
            _check(_lib.crisp_model_load(context(), _bytes(str(source), "a path"), byref(handle.pointer)))
        self._adopt(handle)

    def _adopt(self, handle: _Handle) -> None:
        self._model = handle
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
        _check(_lib.crisp_model_attention(self._model(), _bytes(text, "a text"), layer, byref(result)))
        return _array(result)

    def hidden(self, text: str, layer: int) -> memoryview:
        """What the embeddings (layer 0) or layer 1, 2, ... give, [tokens, dim]."""
        result = ctypes.POINTER(c.Array)()
        _check(_lib.crisp_model_hidden(self._model(), _bytes(text, "a text"), layer, byref(result)))
        return _array(result)

    def parameter(self, name: str) -> memoryview:
        """A copy of a parameter, in its shape."""
        result = ctypes.POINTER(c.Array)()
        _check(_lib.crisp_model_parameter(self._model(), _bytes(name, "a name"), byref(result)))
        return _array(result)

    def set_parameter(self, name: str, values: Union[memoryview, Iterable[float]]) -> None:
        """`values`: as many as the parameter has, row by row, or a memory view or numpy array of doubles."""
        try:
            view = memoryview(values)  # type: ignore[arg-type]
        except TypeError:
            view = None
        if view is not None and view.format in ("d", "<d", "@d") and view.c_contiguous:
            size = view.nbytes // 8
            numbers = (c_double * size).from_buffer_copy(view.cast("B"))
        else:
            flat = list(values)
            size, numbers = len(flat), (c_double * len(flat))(*flat)
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
        objective, label = (0, loss) if logit is None else (1, logit)
        _check(
            _lib.crisp_model_gradient(
                self._model(), _bytes(text, "a text"), objective, label, name, byref(value), byref(result)
            )
        )
        return value.value, _array(result)


class FineTuner:
    """Fine-tunes a model on (text, label) pairs with the numbers of crisp-train. `settings` are its options with _ for -:
    learning_rate, epochs, max_steps, batch_size, gradient_accumulation_steps, warmup_ratio, weight_decay,
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
        context, self._log = _context(settings, log)
        self._tuner = _Handle(_lib.crisp_tuner_free)
        rest = (*_examples(train), *_examples(evaluation), byref(self._tuner.pointer))
        if isinstance(source, Mapping):
            _check(_lib.crisp_tuner_new_memory(context(), _files(source), len(source), *rest))
        else:
            _check(_lib.crisp_tuner_new(context(), _bytes(str(source), "a path"), *rest))

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
        """To the end. A function that returns False stops it, and so does one that raises, which run() raises then;
        another run() goes on from there, to the same bits. False: it was stopped."""
        raised: List[BaseException] = []

        def guarded(function: Optional[Callable], kind: type, declared: type) -> object:
            if function is None:
                return declared()  # null

            def call(user: object, argument: "ctypes._Pointer") -> int:
                try:
                    return int(function(_tuple(kind, argument.contents)) is False)
                except BaseException as error:
                    raised.append(error)
                    return 1

            return declared(call)

        step = guarded(on_step, Step, c.StepFunction)
        evaluation = guarded(on_evaluation, Evaluation, c.EvaluationFunction)
        code = _lib.crisp_tuner_run(self._tuner(), step, evaluation, None)
        if raised:
            raise raised[0]
        if code == _stopped:
            return False
        _check(code)
        return True

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
        model._log = self._log
        model._adopt(handle)
        return model

    def save(self, directory: str, *, replace: bool = False) -> None:
        """Into a directory, which transformers' from_pretrained() takes."""
        _check(_lib.crisp_tuner_save(self._tuner(), _bytes(str(directory), "a path"), int(replace)))

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
