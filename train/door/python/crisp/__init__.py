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
from ctypes import byref, c_double, c_int, c_int32, c_size_t
from typing import Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple, overload

from . import _library as c
from ._library import library as _lib
from ._values import (
    BadInput,
    Context,
    Error,
    Example,
    Handle,
    NotFinite,
    Path,
    Source,
    UsageError,
    check,
    encode,
    encode_path,
    example_array,
    file_array,
    flatten,
    small_int,
    view_of,
)

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


class Prediction(NamedTuple):
    """The answer for a text: the label of the largest logit."""

    label: int
    label_name: str
    logits: List[float]
    scores: List[float]  # probabilities; of a regression the logits

    @property
    def score(self) -> float:
        return self.scores[self.label]


class Token(NamedTuple):
    """A piece of a text, as the model sees it."""

    id: int
    piece: str
    begin: int  # its bytes of the text in UTF-8; 0, 0 for [CLS] and [SEP]
    end: int


class Step(NamedTuple):
    """An optimizer step: how many are done, and in all; the loss is the mean over its examples."""

    step: int
    total_steps: int
    epoch: float
    loss: float
    grad_norm: float
    learning_rate: float


class Evaluation(NamedTuple):
    """How many answers are right after a step; the loss is the mean cross-entropy."""

    step: int
    correct: int
    total: int
    loss: float

    @property
    def accuracy(self) -> float:
        return self.correct / self.total if self.total else 0.0


class Model:
    """A classifier. `source`: a directory or file, the name of a model in Hugging Face's cache, or a model's files in
    memory, {"model.safetensors": bytes, "config.json": bytes, ...}. `log` takes lines on what was assumed in loading.

    The weights of a directory or file are used where they lie in it: see crisp_model_load() in crisp.h. One that
    somebody else writes to or cuts short meanwhile changes the answers or ends the process; map_weights=False copies.
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
        map_weights: bool = True,
        log: Optional[Callable[[str], None]] = None,
    ) -> None:
        settings = {
            "threads": threads,
            "precision": precision,
            "device": device,
            "max_length": max_length,
            "eval_batch_size": eval_batch_size,
            "map_weights": map_weights,
        }
        context = Context(settings, log)
        handle = Handle(_lib.crisp_model_free)
        if isinstance(source, Mapping):
            files = file_array(source)
            code = _lib.crisp_model_load_memory(context.handle(), files, len(files), byref(handle.pointer))
        else:
            code = _lib.crisp_model_load(context.handle(), encode_path(source), byref(handle.pointer))
        context.check(code)
        self._adopt(handle, context)

    def _adopt(self, handle: Handle, context: Context) -> None:
        self._model, self._context = handle, context
        count = c_int32()
        check(_lib.crisp_model_num_labels(handle(), byref(count)))
        self.label_names: List[str] = []
        for label in range(count.value):
            name = ctypes.c_char_p()
            check(_lib.crisp_model_label_name(handle(), label, byref(name)))
            self.label_names.append(name.value.decode())
        size = c_size_t()
        check(_lib.crisp_model_parameter_count(handle(), byref(size)))
        self.parameter_names: List[str] = []
        for i in range(size.value):
            name = ctypes.c_char_p()
            check(_lib.crisp_model_parameter_name(handle(), i, byref(name)))
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
        strings = (ctypes.c_char_p * n)(*[encode(t, "a text") for t in texts])
        chosen, logits, scores = (c_int32 * n)(), (c_double * (n * labels))(), (c_double * (n * labels))()
        check(_lib.crisp_model_predict(self._model(), strings, n, chosen, logits, scores))
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
        check(_lib.crisp_model_tokenize(self._model(), encode(text, "a text"), byref(result)))
        try:
            tokens = result.contents.tokens[: result.contents.count]
            return [Token(t.id, t.piece.decode(errors="replace"), t.begin, t.end) for t in tokens]
        finally:
            _lib.crisp_free(result)

    def attention(self, text: str, layer: int) -> memoryview:
        """The attention weights of a layer, [heads, tokens, tokens]."""
        result = ctypes.POINTER(c.Array)()
        number = small_int(layer, "the layer")
        check(_lib.crisp_model_attention(self._model(), encode(text, "a text"), number, byref(result)))
        return view_of(result)

    def hidden(self, text: str, layer: int) -> memoryview:
        """What the embeddings (layer 0) or layer 1, 2, ... give, [tokens, dim]."""
        result = ctypes.POINTER(c.Array)()
        number = small_int(layer, "the layer")
        check(_lib.crisp_model_hidden(self._model(), encode(text, "a text"), number, byref(result)))
        return view_of(result)

    def parameter(self, name: str) -> memoryview:
        """A copy of a parameter, in its shape."""
        result = ctypes.POINTER(c.Array)()
        check(_lib.crisp_model_parameter(self._model(), encode(name, "a name"), byref(result)))
        return view_of(result)

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
            flatten(list(values) if isinstance(values, Iterable) else values, shape, 0, flat)
            size, numbers = len(flat), (c_double * len(flat))(*flat)
        if len(shape) > 1 and tuple(shape) != self.parameter(name).shape:
            raise UsageError(f"{name} has the shape {self.parameter(name).shape}, not {tuple(shape)}")
        check(_lib.crisp_model_set_parameter(self._model(), encode(name, "a name"), numbers, size))

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
        name = None if of is None else encode(of, "a name")
        objective, label = (0, small_int(loss, "the label")) if logit is None else (1, small_int(logit, "the label"))
        check(
            _lib.crisp_model_gradient(
                self._model(), encode(text, "a text"), objective, label, name, byref(value), byref(result)
            )
        )
        return value.value, view_of(result)


class FineTuner:
    """Fine-tunes a model on (text, label) pairs with the numbers of crisp-train. `settings` are its options:

    threads, precision, device, max_length, eval_batch_size, map_weights, epochs, max_steps, learning_rate, batch_size,
    gradient_accumulation_steps, schedule, warmup_steps, warmup_ratio, weight_decay, beta1, beta2, epsilon,
    max_grad_norm, seed, dropout, label_names, new_head, eval_steps, sparsity, sparse_method, sparse_layers,
    sparsity_reverse, sparsity_ramp, sparse_train, sparse_eval, keep, drop_key, drop_attention, drop_attention_unit,
    attention_threshold, attention_drop, window, bigbird, lexical_threshold, tree_distance, span_ramp, span_init,
    span_penalty, span_learning_rate.

    Numbers, texts, lists (or texts with commas: sparse_layers=[2, 3] is "2,3"), and True or False, 1 or 0, "on" or
    "off" for what is on or off. None is the default; keep=[] keeps no key first.
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
        self._context = context = Context(settings, log)
        self._tuner = Handle(_lib.crisp_tuner_free)
        rest = (*example_array(train), *example_array(evaluation), byref(self._tuner.pointer))
        if isinstance(source, Mapping):
            code = _lib.crisp_tuner_new_memory(context.handle(), file_array(source), len(source), *rest)
        else:
            code = _lib.crisp_tuner_new(context.handle(), encode_path(source), *rest)
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
        """Whether all steps are done."""
        finished = c_int()
        check(_lib.crisp_tuner_finished(self._tuner(), byref(finished)))
        return bool(finished.value)

    def step(self) -> Step:
        """One optimizer step."""
        step = c.Step()
        check(_lib.crisp_tuner_step(self._tuner(), byref(step)))
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
            check(_lib.crisp_tuner_next(self._tuner(), byref(event), byref(step), byref(evaluation)))
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
        check(_lib.crisp_tuner_evaluate(self._tuner(), *example_array(examples), byref(result)))
        return _tuple(Evaluation, result)

    def model(self) -> Model:
        """A copy of the model as it is now."""
        handle = Handle(_lib.crisp_model_free)
        check(_lib.crisp_tuner_model(self._tuner(), byref(handle.pointer)))
        model = Model.__new__(Model)
        model._adopt(handle, self._context)
        return model

    def save(self, directory: Path, *, replace: bool = False) -> None:
        """Into a directory, which transformers' from_pretrained() takes."""
        check(_lib.crisp_tuner_save(self._tuner(), encode_path(directory), int(bool(replace))))

    def save_to_memory(self) -> Dict[str, bytes]:
        """The same files."""
        result = ctypes.POINTER(c.Files)()
        check(_lib.crisp_tuner_save_memory(self._tuner(), byref(result)))
        try:
            files = result.contents.files[: result.contents.count]
            return {f.name.decode(): ctypes.string_at(f.data, f.size) for f in files}
        finally:
            _lib.crisp_free(result)


def _tuple(kind: type, structure: ctypes.Structure):
    return kind(*[getattr(structure, name) for name in kind._fields])
