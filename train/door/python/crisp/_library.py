"""crisp.h by ctypes: which library is loaded, and the declarations of its functions."""

import ctypes
import os
import sys
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_void_p


class Token(Structure):
    _fields_ = [("id", c_int32), ("piece", c_char_p), ("begin", c_size_t), ("end", c_size_t)]


class Tokens(Structure):
    _fields_ = [("count", c_size_t), ("tokens", POINTER(Token))]


class Array(Structure):
    _fields_ = [("rank", c_int32), ("shape", POINTER(c_int64)), ("size", c_size_t), ("values", POINTER(c_double))]


class File(Structure):
    _fields_ = [("name", c_char_p), ("data", c_void_p), ("size", c_size_t)]


class Files(Structure):
    _fields_ = [("count", c_size_t), ("files", POINTER(File))]


class Example(Structure):
    _fields_ = [("text", c_char_p), ("label", c_int32)]


class Step(Structure):
    _fields_ = [
        ("step", c_int64),
        ("total_steps", c_int64),
        ("epoch", c_double),
        ("loss", c_double),
        ("grad_norm", c_double),
        ("learning_rate", c_double),
    ]


class Evaluation(Structure):
    _fields_ = [("step", c_int64), ("correct", c_int64), ("total", c_int64), ("loss", c_double)]


LogFunction = CFUNCTYPE(None, c_void_p, c_char_p)

_examples = [POINTER(Example), c_size_t, POINTER(Example), c_size_t]
_out = POINTER(c_void_p)
# Result and parameters of each function.
_functions = {
    "crisp_version": (c_char_p, []),
    "crisp_code_name": (c_char_p, [c_int]),
    "crisp_last_error": (c_char_p, []),
    "crisp_context_new": (c_int, [_out]),
    "crisp_context_free": (None, [c_void_p]),
    "crisp_context_set": (c_int, [c_void_p, c_char_p, c_char_p]),
    "crisp_context_set_log": (c_int, [c_void_p, LogFunction, c_void_p]),
    "crisp_model_load": (c_int, [c_void_p, c_char_p, _out]),
    "crisp_model_load_memory": (c_int, [c_void_p, POINTER(File), c_size_t, _out]),
    "crisp_model_free": (None, [c_void_p]),
    "crisp_model_num_labels": (c_int, [c_void_p, POINTER(c_int32)]),
    "crisp_model_label_name": (c_int, [c_void_p, c_int32, POINTER(c_char_p)]),
    "crisp_model_predict": (
        c_int,
        [c_void_p, POINTER(c_char_p), c_size_t, POINTER(c_int32), POINTER(c_double), POINTER(c_double)],
    ),
    "crisp_free": (None, [c_void_p]),
    "crisp_model_tokenize": (c_int, [c_void_p, c_char_p, POINTER(POINTER(Tokens))]),
    "crisp_model_attention": (c_int, [c_void_p, c_char_p, c_int32, POINTER(POINTER(Array))]),
    "crisp_model_hidden": (c_int, [c_void_p, c_char_p, c_int32, POINTER(POINTER(Array))]),
    "crisp_model_parameter_count": (c_int, [c_void_p, POINTER(c_size_t)]),
    "crisp_model_parameter_name": (c_int, [c_void_p, c_size_t, POINTER(c_char_p)]),
    "crisp_model_parameter": (c_int, [c_void_p, c_char_p, POINTER(POINTER(Array))]),
    "crisp_model_set_parameter": (c_int, [c_void_p, c_char_p, POINTER(c_double), c_size_t]),
    "crisp_model_gradient": (
        c_int,
        [c_void_p, c_char_p, c_int, c_int32, c_char_p, POINTER(c_double), POINTER(POINTER(Array))],
    ),
    "crisp_tuner_new": (c_int, [c_void_p, c_char_p, *_examples, _out]),
    "crisp_tuner_new_memory": (c_int, [c_void_p, POINTER(File), c_size_t, *_examples, _out]),
    "crisp_tuner_free": (None, [c_void_p]),
    "crisp_tuner_step": (c_int, [c_void_p, POINTER(Step)]),
    "crisp_tuner_next": (c_int, [c_void_p, POINTER(c_int), POINTER(Step), POINTER(Evaluation)]),
    "crisp_tuner_finished": (c_int, [c_void_p, POINTER(c_int)]),
    "crisp_tuner_evaluate": (c_int, [c_void_p, POINTER(Example), c_size_t, POINTER(Evaluation)]),
    "crisp_tuner_model": (c_int, [c_void_p, _out]),
    "crisp_tuner_save": (c_int, [c_void_p, c_char_p, c_int]),
    "crisp_tuner_save_memory": (c_int, [c_void_p, POINTER(POINTER(Files))]),
}


def _load() -> ctypes.CDLL:
    """$CRISP_LIBRARY, else the library beside this file (a wheel's), else the system's."""
    version = "0.1"  # whose functions are declared above: the library's soname
    names = [os.environ.get("CRISP_LIBRARY")]
    if not names[0]:
        name = f"libcrisp.{version}.dylib" if sys.platform == "darwin" else f"libcrisp.so.{version}"
        beside = os.path.join(os.path.dirname(__file__), name)
        names = [beside] if os.path.exists(beside) else [name]
    try:
        library = ctypes.CDLL(names[0])
    except OSError as error:
        raise ImportError(
            f"{error}. Install Crisp's shared library, or name it in the environment variable CRISP_LIBRARY"
        ) from None
    for name, (result, parameters) in _functions.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise ImportError(f"{names[0]}: has no {name}; this package needs Crisp {version}") from None
        function.restype, function.argtypes = result, parameters
    return library


library = _load()
