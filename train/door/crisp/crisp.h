/* Crisp for a C99 program: load, tokenise, predict, differentiate, fine-tune, save. ../README.md has a page of code.
 *
 * Every function that returns int returns CRISP_OK (0) or an error code. What it gives is written through its last
 * pointers, and only when it succeeds. A handle is usable after an error, unless its function says otherwise. Nothing
 * is printed, no exception leaves a function, and the process's signals, streams, locale and environment are left
 * alone. No setting is global: all are a context's.
 *
 * Threads. Different handles may be used at the same time. Of one model handle, all functions that take it as const may
 * be; of a context or a tuner handle, none. A context may be freed while models made with it live.
 *
 * fork(). The child may use every handle that no other thread was changing or making at that moment, as if the other
 * threads' calls had not been, and make new ones; memory that those calls had taken stays taken in the child. Not so
 * before the process's first load has ended, and not what is on a GPU.
 *
 * Texts are UTF-8 without a NUL; bytes that are no UTF-8 are passed over. Numbers are doubles whatever a model computes
 * with, so that nothing is rounded. Arrays are row-major.
 */
#ifndef CRISP_CRISP_H
#define CRISP_CRISP_H

#include <stddef.h>
#include <stdint.h>

#define CRISP_VERSION_MAJOR 0
#define CRISP_VERSION_MINOR 1
#define CRISP_VERSION_PATCH 0
#define CRISP_VERSION_STRING "0.1.0"

/* A shared library exports these alone. */
#if defined(__GNUC__)
#define CRISP_API __attribute__((visibility("default")))
#else
#define CRISP_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* The first ones are the programs' exit codes. */
enum crisp_code {
  CRISP_OK = 0,
  CRISP_FAILED = 1,        /* a failure at run time: a disk that is full, a device that is missing */
  CRISP_USAGE = 2,         /* settings, arguments or an order of calls that make no sense; a null pointer */
  CRISP_BAD_INPUT = 3,     /* files that cannot be used as what they claim to be */
  CRISP_NOT_FINITE = 4,    /* a logit, loss or gradient that is no number */
  CRISP_OUT_OF_MEMORY = 5, /* the allocator or the system has no more (exit code 1) */
  CRISP_STOPPED = 6        /* a callback of the caller's has asked for the end */
};

/* "0.1.0", of the library. */
CRISP_API const char* crisp_version(void);
/* "bad input", ...; never null. */
CRISP_API const char* crisp_code_name(int code);
/* What went wrong in this thread's last call that returned an error, in one or two plain lines; "" if none has. Valid
 * until this thread's next call that returns an error; cut after 1023 bytes. */
CRISP_API const char* crisp_last_error(void);

/* ---- contexts: with what models compute -------------------------------------------------------------------------- */

typedef struct crisp_context crisp_context;

/* With the defaults of crisp_context_set(). */
CRISP_API int crisp_context_new(crisp_context** context);
/* null is allowed, here and in all functions that free. */
CRISP_API void crisp_context_free(crisp_context* context);
/* As crisp_last_error(), of the last call with this context that failed. */
CRISP_API const char* crisp_context_error(const crisp_context* context);

/* One setting as text. Models and tuners that are made later follow it. A - may stand for a _: these are the programs'
 * options. All there are, each with its default:
 *
 * of all: threads 0, precision f32, device cpu, max_length 0, eval_batch_size 64, map_weights on (tuners copy);
 *
 * of tuners: epochs 3, max_steps 0, learning_rate 2e-05, batch_size 32, gradient_accumulation_steps 1, schedule linear,
 *   warmup_steps 0 (by warmup_ratio, or none where 0 is given), warmup_ratio 0.1, weight_decay 0.01, beta1 0.9,
 *   beta2 0.999, epsilon 1e-08, max_grad_norm 1, seed 42, dropout, label_names (a,b,..), new_head off, eval_steps 0;
 *
 * of tuners, of sparse attention: sparsity dense, sparse_method top-k, sparse_layers all, sparsity_reverse off,
 *   sparsity_ramp 0, sparse_train on, sparse_eval on, keep none, drop_key 0, drop_attention 0,
 *   drop_attention_unit entry, attention_threshold, attention_drop 0.5, window, bigbird (N,R,G), lexical_threshold,
 *   tree_distance, span_ramp 4, span_init 8, span_penalty 0, span_learning_rate 0.01.
 *
 * CRISP_USAGE for a name or a value that is none. */
CRISP_API int crisp_context_set(crisp_context* context, const char* name, const char* value);

/* Takes lines for the user, without a line end: what was assumed or left out in loading. Called in the thread of the
 * call. null: nobody wants them. */
typedef void (*crisp_log)(void* user, const char* line);
CRISP_API int crisp_context_set_log(crisp_context* context, crisp_log log, void* user);

/* Covers the blocks that this header hands out: model and tuner handles, and the results that crisp_free() frees. Not
 * covered is the memory of tensors, which comes from the engine's cache that all models of a process share, or is a
 * part of a file that is mapped (map_weights), and of what the library makes for itself with operator new. `allocate`
 * returns at least `size` bytes, aligned as malloc's, or null; both may be called by any thread. null and null: malloc
 * and free. */
typedef void* (*crisp_allocate)(void* user, size_t size);
typedef void (*crisp_release)(void* user, void* block);
CRISP_API int crisp_context_set_allocator(crisp_context* context, crisp_allocate allocate, crisp_release release,
                                          void* user);

/* ---- models ------------------------------------------------------------------------------------------------------ */

typedef struct crisp_model crisp_model;

/* One file of a model: its name (model.safetensors, config.json, vocab.txt, ...) and content. */
typedef struct crisp_file {
  const char* name;
  const void* data;
  size_t size;
} crisp_file;

/* Fills `out` with `size` bytes of the file `name` from `offset` on, and *file_size with how many bytes the file has.
 * A `size` of 0 asks for the latter alone. Returns 0; CRISP_NO_FILE where there is no such file; anything else ends the
 * loading with CRISP_STOPPED. */
#define CRISP_NO_FILE (-1)
typedef int (*crisp_read)(void* user, const char* name, uint64_t offset, void* out, size_t size, uint64_t* file_size);

/* A directory as crisp-train writes and Hugging Face publishes it, a .safetensors file with the others beside it, or
 * the name of a model in Hugging Face's cache.
 *
 * The weights are used where they lie in the file, on the CPU, as far as they are of the model's numbers: processes
 * share them, and what crisp_model_set_parameter() changes is the handle's alone. A file whose place another takes, as
 * crisp_tuner_save() does it, stays whole on a local disk. But one that somebody else writes to or cuts short (cp,
 * transformers' save_pretrained), or whose disk fails, before crisp_model_free() changes the answers or ends the
 * process (SIGBUS): with the setting map_weights off weights are copied. The answers have the same bits. */
CRISP_API int crisp_model_load(crisp_context* context, const char* path, crisp_model** model);
/* The memory is not needed any more when the function returns. */
CRISP_API int crisp_model_load_memory(crisp_context* context, const crisp_file* files, size_t count,
                                      crisp_model** model);
CRISP_API int crisp_model_load_callback(crisp_context* context, crisp_read read, void* user, crisp_model** model);
CRISP_API void crisp_model_free(crisp_model* model);
/* As crisp_last_error(), of the last call with this handle that failed, in whatever thread. Not while another thread
 * uses the handle. */
CRISP_API const char* crisp_model_error(const crisp_model* model);

/* How many logits a text gets; labels are 0 to one less. */
CRISP_API int crisp_model_num_labels(const crisp_model* model, int32_t* count);
/* Valid as long as the model. */
CRISP_API int crisp_model_label_name(const crisp_model* model, int32_t label, const char** name);

/* For each of `count` texts: the label, num_labels logits, and as many scores (probabilities; of a regression the
 * logits). Any of the three may be null. */
CRISP_API int crisp_model_predict(const crisp_model* model, const char* const* texts, size_t count, int32_t* labels,
                                  double* logits, double* scores);

/* ---- results, each to be given to crisp_free() ------------------------------------------------------------------- */

typedef struct crisp_token {
  int32_t id;
  const char* piece; /* "[CLS]", "un", "##believ", ... */
  size_t begin, end; /* its bytes of the text; 0, 0 for [CLS] and [SEP] */
} crisp_token;

typedef struct crisp_tokens {
  size_t count;
  const crisp_token* tokens;
} crisp_tokens;

typedef struct crisp_array {
  int32_t rank;
  const int64_t* shape;
  size_t size; /* the product of the shape */
  const double* values;
} crisp_array;

typedef struct crisp_files {
  size_t count;
  const crisp_file* files;
} crisp_files;

CRISP_API void crisp_free(void* result);

/* The text as the model sees it, cut to max-length. */
CRISP_API int crisp_model_tokenize(const crisp_model* model, const char* text, crisp_tokens** tokens);
/* Attention weights of a layer, [heads, tokens, tokens]. */
CRISP_API int crisp_model_attention(const crisp_model* model, const char* text, int32_t layer, crisp_array** weights);
/* The output of the embeddings (layer 0) or of layer 1, 2, ..., [tokens, dim]. */
CRISP_API int crisp_model_hidden(const crisp_model* model, const char* text, int32_t layer, crisp_array** states);

CRISP_API int crisp_model_parameter_count(const crisp_model* model, size_t* count);
/* Its name in Hugging Face's files; valid as long as the model. */
CRISP_API int crisp_model_parameter_name(const crisp_model* model, size_t index, const char** name);
/* A copy of its values, in its shape. */
CRISP_API int crisp_model_parameter(const crisp_model* model, const char* name, crisp_array** values);
/* `size`: of the values, as many as the parameter has. */
CRISP_API int crisp_model_set_parameter(crisp_model* model, const char* name, const double* values, size_t size);

/* What a gradient is the gradient of: the cross-entropy of a label (of a softmax alone), or the label's logit. */
enum crisp_objective { CRISP_LOSS = 0, CRISP_LOGIT = 1 };

/* Of one text, without dropout: `parameter` is a parameter's name, or null for the tokens, [tokens, dim]: of the word
 * embedding that each has. *value (which may be null) is the objective itself. */
CRISP_API int crisp_model_gradient(const crisp_model* model, const char* text, int objective, int32_t label,
                                   const char* parameter, double* value, crisp_array** gradient);

/* ---- fine-tuning ------------------------------------------------------------------------------------------------- */

typedef struct crisp_tuner crisp_tuner;

typedef struct crisp_example {
  const char* text;
  int32_t label; /* from 0, without gaps; without label_names up to 9999 */
} crisp_example;

typedef struct crisp_step {
  int64_t step, total_steps; /* optimizer steps done, and in all */
  double epoch, loss, grad_norm, learning_rate;
} crisp_step;

typedef struct crisp_evaluation {
  int64_t step; /* after which */
  int64_t correct, total;
  double loss;
} crisp_evaluation;

/* The model is loaded as by crisp_model_load*(); `evaluation` (maybe null and 0) is what crisp_tuner_run() measures. */
CRISP_API int crisp_tuner_new(crisp_context* context, const char* path, const crisp_example* train, size_t train_count,
                              const crisp_example* evaluation, size_t evaluation_count, crisp_tuner** tuner);
CRISP_API int crisp_tuner_new_memory(crisp_context* context, const crisp_file* files, size_t file_count,
                                     const crisp_example* train, size_t train_count, const crisp_example* evaluation,
                                     size_t evaluation_count, crisp_tuner** tuner);
CRISP_API int crisp_tuner_new_callback(crisp_context* context, crisp_read read, void* user, const crisp_example* train,
                                       size_t train_count, const crisp_example* evaluation, size_t evaluation_count,
                                       crisp_tuner** tuner);
CRISP_API void crisp_tuner_free(crisp_tuner* tuner);
/* As crisp_last_error(), of the last call with this tuner that failed. */
CRISP_API const char* crisp_tuner_error(const crisp_tuner* tuner);

/* One optimizer step; `step` may be null. CRISP_USAGE when the training is finished. After CRISP_NOT_FINITE no weight
 * has changed, but the training cannot go on. Neither can it after any other error of a step, of which the model may
 * have a part then. */
CRISP_API int crisp_tuner_step(crisp_tuner* tuner, crisp_step* step);
/* To the end. A function (which may be null) that returns other than 0 stops it: CRISP_STOPPED, and another call goes
 * on from there, to the same bits. They may call crisp_tuner_evaluate() and the functions that save, but neither free
 * the tuner nor train with it. */
typedef int (*crisp_on_step)(void* user, const crisp_step* step);
typedef int (*crisp_on_evaluation)(void* user, const crisp_evaluation* evaluation);
CRISP_API int crisp_tuner_run(crisp_tuner* tuner, crisp_on_step on_step, crisp_on_evaluation on_evaluation, void* user);
/* What crisp_tuner_run() does next, one thing of it: for who would rather ask than be called. *event says which, and
 * the structure of that name (which may be null) is filled. */
enum crisp_event { CRISP_EVENT_END = 0, CRISP_EVENT_STEP = 1, CRISP_EVENT_EVALUATION = 2 };
CRISP_API int crisp_tuner_next(crisp_tuner* tuner, int* event, crisp_step* step, crisp_evaluation* evaluation);
/* 1 when all steps are done, else 0. */
CRISP_API int crisp_tuner_finished(const crisp_tuner* tuner, int* finished);
/* With the weights as they are now; CRISP_USAGE without examples. CRISP_NOT_FINITE of an evaluation, here and in
 * crisp_tuner_run(), changes nothing: steps go on where the weights are numbers still, else they cannot. */
CRISP_API int crisp_tuner_evaluate(crisp_tuner* tuner, const crisp_example* examples, size_t count,
                                   crisp_evaluation* evaluation);

/* A copy of the model as it is now. */
CRISP_API int crisp_tuner_model(crisp_tuner* tuner, crisp_model** model);
/* Into a directory that is made where it is not there, as one: it holds what it held or this model, or is gone again.
 * CRISP_USAGE for a directory that is not empty, unless `replace` is other than 0, and for one of a training run. */
CRISP_API int crisp_tuner_save(crisp_tuner* tuner, const char* directory, int replace);
/* The same files, byte for byte. */
CRISP_API int crisp_tuner_save_memory(crisp_tuner* tuner, crisp_files** files);

#ifdef __cplusplus
}
#endif

#endif
