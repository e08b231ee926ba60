/* The binary interface of libcrisp.so.0.1 on 64-bit systems: what programs that were compiled with an earlier crisp.h
 * hold it to. A line that does not compile any more is a change that needs another version in the soname; what is new
 * is added here. check_install.cmake compiles this against the installed header, in C11, and compares the functions
 * with those that the library exports.
 *
 * In C because abidiff would need debug information, which a library that is shipped does not have, and does not look
 * at enumerations that no function names, as crisp_code. */
#include <crisp/crisp.h>

#define SAME(expression, type) _Generic((expression), type : 1, default : 0)
#define SIZE(structure, size) _Static_assert(sizeof(structure) == (size), #structure)
#define FIELD(structure, at, type, name) \
  _Static_assert(offsetof(structure, name) == (at) && SAME(((structure*)0)->name, type), #name)
#define VALUE(name, value) _Static_assert((name) == (value), #name)
#define CALLBACK(name, result, ...) _Static_assert(SAME((name)0, result(*)(__VA_ARGS__)), #name)
#define FUNCTION(name, result, ...) _Static_assert(SAME(&name, result(*)(__VA_ARGS__)), #name)

VALUE(CRISP_OK, 0);
VALUE(CRISP_FAILED, 1);
VALUE(CRISP_USAGE, 2);
VALUE(CRISP_BAD_INPUT, 3);
VALUE(CRISP_NOT_FINITE, 4);
VALUE(CRISP_OUT_OF_MEMORY, 5);
VALUE(CRISP_STOPPED, 6);
VALUE(CRISP_NO_FILE, -1);
VALUE(CRISP_LOSS, 0);
VALUE(CRISP_LOGIT, 1);
VALUE(CRISP_EVENT_END, 0);
VALUE(CRISP_EVENT_STEP, 1);
VALUE(CRISP_EVENT_EVALUATION, 2);

SIZE(crisp_file, 24);
FIELD(crisp_file, 0, const char*, name);
FIELD(crisp_file, 8, const void*, data);
FIELD(crisp_file, 16, size_t, size);

SIZE(crisp_token, 32);
FIELD(crisp_token, 0, int32_t, id);
FIELD(crisp_token, 8, const char*, piece);
FIELD(crisp_token, 16, size_t, begin);
FIELD(crisp_token, 24, size_t, end);

SIZE(crisp_tokens, 16);
FIELD(crisp_tokens, 0, size_t, count);
FIELD(crisp_tokens, 8, const crisp_token*, tokens);

SIZE(crisp_array, 32);
FIELD(crisp_array, 0, int32_t, rank);
FIELD(crisp_array, 8, const int64_t*, shape);
FIELD(crisp_array, 16, size_t, size);
FIELD(crisp_array, 24, const double*, values);

SIZE(crisp_files, 16);
FIELD(crisp_files, 0, size_t, count);
FIELD(crisp_files, 8, const crisp_file*, files);

SIZE(crisp_example, 16);
FIELD(crisp_example, 0, const char*, text);
FIELD(crisp_example, 8, int32_t, label);

SIZE(crisp_step, 48);
FIELD(crisp_step, 0, int64_t, step);
FIELD(crisp_step, 8, int64_t, total_steps);
FIELD(crisp_step, 16, double, epoch);
FIELD(crisp_step, 24, double, loss);
FIELD(crisp_step, 32, double, grad_norm);
FIELD(crisp_step, 40, double, learning_rate);

SIZE(crisp_evaluation, 32);
FIELD(crisp_evaluation, 0, int64_t, step);
FIELD(crisp_evaluation, 8, int64_t, correct);
FIELD(crisp_evaluation, 16, int64_t, total);
FIELD(crisp_evaluation, 24, double, loss);

CALLBACK(crisp_log, void, void*, const char*);
CALLBACK(crisp_allocate, void*, void*, size_t);
CALLBACK(crisp_release, void, void*, void*);
CALLBACK(crisp_read, int, void*, const char*, uint64_t, void*, size_t, uint64_t*);
CALLBACK(crisp_on_step, int, void*, const crisp_step*);
CALLBACK(crisp_on_evaluation, int, void*, const crisp_evaluation*);

FUNCTION(crisp_code_name, const char*, int);
FUNCTION(crisp_context_error, const char*, const crisp_context*);
FUNCTION(crisp_context_free, void, crisp_context*);
FUNCTION(crisp_context_new, int, crisp_context**);
FUNCTION(crisp_context_set, int, crisp_context*, const char*, const char*);
FUNCTION(crisp_context_set_allocator, int, crisp_context*, crisp_allocate, crisp_release, void*);
FUNCTION(crisp_context_set_log, int, crisp_context*, crisp_log, void*);
FUNCTION(crisp_free, void, void*);
FUNCTION(crisp_last_error, const char*, void);
FUNCTION(crisp_model_attention, int, const crisp_model*, const char*, int32_t, crisp_array**);
FUNCTION(crisp_model_error, const char*, const crisp_model*);
FUNCTION(crisp_model_free, void, crisp_model*);
FUNCTION(crisp_model_gradient, int, const crisp_model*, const char*, int, int32_t, const char*, double*, crisp_array**);
FUNCTION(crisp_model_hidden, int, const crisp_model*, const char*, int32_t, crisp_array**);
FUNCTION(crisp_model_label_name, int, const crisp_model*, int32_t, const char**);
FUNCTION(crisp_model_load, int, crisp_context*, const char*, crisp_model**);
FUNCTION(crisp_model_load_callback, int, crisp_context*, crisp_read, void*, crisp_model**);
FUNCTION(crisp_model_load_memory, int, crisp_context*, const crisp_file*, size_t, crisp_model**);
FUNCTION(crisp_model_num_labels, int, const crisp_model*, int32_t*);
FUNCTION(crisp_model_parameter, int, const crisp_model*, const char*, crisp_array**);
FUNCTION(crisp_model_parameter_count, int, const crisp_model*, size_t*);
FUNCTION(crisp_model_parameter_name, int, const crisp_model*, size_t, const char**);
FUNCTION(crisp_model_predict, int, const crisp_model*, const char* const*, size_t, int32_t*, double*, double*);
FUNCTION(crisp_model_set_parameter, int, crisp_model*, const char*, const double*, size_t);
FUNCTION(crisp_model_tokenize, int, const crisp_model*, const char*, crisp_tokens**);
FUNCTION(crisp_tuner_error, const char*, const crisp_tuner*);
FUNCTION(crisp_tuner_evaluate, int, crisp_tuner*, const crisp_example*, size_t, crisp_evaluation*);
FUNCTION(crisp_tuner_finished, int, const crisp_tuner*, int*);
FUNCTION(crisp_tuner_free, void, crisp_tuner*);
FUNCTION(crisp_tuner_model, int, crisp_tuner*, crisp_model**);
FUNCTION(crisp_tuner_new, int, crisp_context*, const char*, const crisp_example*, size_t, const crisp_example*, size_t,
         crisp_tuner**);
FUNCTION(crisp_tuner_new_callback, int, crisp_context*, crisp_read, void*, const crisp_example*, size_t,
         const crisp_example*, size_t, crisp_tuner**);
FUNCTION(crisp_tuner_new_memory, int, crisp_context*, const crisp_file*, size_t, const crisp_example*, size_t,
         const crisp_example*, size_t, crisp_tuner**);
FUNCTION(crisp_tuner_next, int, crisp_tuner*, int*, crisp_step*, crisp_evaluation*);
FUNCTION(crisp_tuner_run, int, crisp_tuner*, crisp_on_step, crisp_on_evaluation, void*);
FUNCTION(crisp_tuner_save, int, crisp_tuner*, const char*, int);
FUNCTION(crisp_tuner_save_memory, int, crisp_tuner*, crisp_files**);
FUNCTION(crisp_tuner_step, int, crisp_tuner*, crisp_step*);
FUNCTION(crisp_version, const char*, void);
