/* What a C program does wrong, and a host without memory: each is a code, and nothing is left behind. */
#include "c_program.h"

#include <string.h>

void test_wrong_use(crisp_context* context, const char* base, const struct counts* counts) {
  crisp_model* model = NULL;
  crisp_tuner* tuner = NULL;
  crisp_array* array = NULL;
  crisp_example wrong = {"a", -1};
  const char* text = NULL;

  CHECK(crisp_context_new(NULL) == CRISP_USAGE);
  CHECK(strstr(crisp_last_error(), "null pointer") != NULL);
  CHECK(crisp_context_set(NULL, "threads", "1") == CRISP_USAGE);
  CHECK(crisp_context_set(context, NULL, "1") == CRISP_USAGE);
  CHECK(crisp_context_set(context, "threads", "many") == CRISP_USAGE);
  CHECK(strcmp(crisp_context_error(context), "threads must be a whole number from 0 to 1024, not \"many\"") == 0);
  CHECK(crisp_context_set(context, "thread", "1") == CRISP_USAGE);
  CHECK(strcmp(crisp_context_error(context), "there is no setting \"thread\"") == 0);
  CHECK(crisp_context_set(context, "precision", "f16") == CRISP_USAGE);
  CHECK(crisp_context_set(context, "device", "tpu") == CRISP_USAGE);
  CHECK(crisp_context_set(context, "new-head", "yes") == CRISP_USAGE);
  CHECK(crisp_context_set(context, "map_weights", "maybe") == CRISP_USAGE);
  CHECK(crisp_context_set(context, "window", "-1") == CRISP_USAGE);
  CHECK(strstr(crisp_context_error(context), "window must be a whole number from 0 to") != NULL);
  CHECK(crisp_context_set(context, "epochs", "3 or 4") == CRISP_USAGE);
  CHECK(crisp_context_set(context, "label_names", "") == CRISP_USAGE);
  CHECK(strstr(crisp_context_error(context), "label_names must be names between commas, none of them empty") != NULL);
  CHECK(crisp_context_set_allocator(context, take_memory, NULL, NULL) == CRISP_USAGE);

  CHECK(crisp_model_load(context, NULL, &model) == CRISP_USAGE);
  CHECK(crisp_model_load(context, "", &model) == CRISP_USAGE);
  CHECK(strstr(crisp_last_error(), "a model's path is empty") != NULL);
  CHECK(crisp_model_load(context, base, NULL) == CRISP_USAGE);
  CHECK(crisp_model_load(NULL, base, &model) == CRISP_USAGE);
  CHECK(crisp_model_load(context, base, &model) == CRISP_BAD_INPUT);
  CHECK(strstr(crisp_last_error(), "no classification head") != NULL);
  CHECK(crisp_model_load_memory(context, NULL, 2, &model) == CRISP_USAGE);
  CHECK(crisp_model_load_callback(context, NULL, NULL, &model) == CRISP_USAGE);
  set(context, "max-length", "1");
  CHECK(crisp_model_load_memory(context, counts->files->files, counts->files->count, &model) == CRISP_USAGE);
  set(context, "max-length", "0");
  CHECK(model == NULL);
  CHECK(crisp_model_predict(NULL, texts, 1, NULL, NULL, NULL) == CRISP_USAGE);

  REQUIRE(crisp_model_load_memory(context, counts->files->files, counts->files->count, &model) == CRISP_OK);
  CHECK(crisp_model_predict(model, NULL, 1, NULL, NULL, NULL) == CRISP_USAGE);
  CHECK(crisp_model_predict(model, &text, 1, NULL, NULL, NULL) == CRISP_USAGE);
  CHECK(crisp_model_gradient(model, "a", 2, 0, NULL, NULL, &array) == CRISP_USAGE);
  CHECK(crisp_model_gradient(model, "a", CRISP_LOSS, 5, NULL, NULL, &array) == CRISP_USAGE);
  CHECK(crisp_model_gradient(model, "a", CRISP_LOSS, 0, "none", NULL, &array) == CRISP_USAGE);
  CHECK(crisp_model_parameter(model, "none", &array) == CRISP_USAGE);
  CHECK(array == NULL);
  crisp_model_free(model);

  CHECK(crisp_tuner_new(context, base, NULL, 0, NULL, 0, &tuner) == CRISP_USAGE);
  CHECK(crisp_tuner_new(context, base, &wrong, 1, NULL, 0, &tuner) == CRISP_USAGE);
  CHECK(strstr(crisp_context_error(context), "training example 1 has the label -1") != NULL);
  CHECK(tuner == NULL);
  CHECK(crisp_tuner_step(NULL, NULL) == CRISP_USAGE);

  crisp_free(NULL), crisp_model_free(NULL), crisp_tuner_free(NULL), crisp_context_free(NULL);
  CHECK(strcmp(crisp_model_error(NULL), "") == 0);
}

/* The host's allocator fails once, at each of its calls in turn. */
void test_memory(const struct counts* counts) {
  struct counts mine;
  long n, failed = 0;

  memset(&mine, 0, sizeof mine);
  mine.fail_after = -1;
  for (n = 0;; ++n) {
    crisp_context* context = NULL;
    crisp_model* model = NULL;
    crisp_tokens* tokens = NULL;
    crisp_array* array = NULL;
    int code;
    REQUIRE(crisp_context_new(&context) == CRISP_OK);
    REQUIRE(crisp_context_set_allocator(context, take_memory, give_memory, &mine) == CRISP_OK);
    set(context, "threads", "1");
    mine.fail_after = n;
    code = crisp_model_load_memory(context, counts->files->files, counts->files->count, &model);
    crisp_context_free(context);
    if (code == CRISP_OK) code = crisp_model_tokenize(model, "A film.", &tokens);
    if (code == CRISP_OK) code = crisp_model_hidden(model, "A film.", 0, &array);
    mine.fail_after = -1;
    if (code != CRISP_OK) {
      CHECK(code == CRISP_OUT_OF_MEMORY);
      CHECK(strcmp(crisp_last_error(), "out of memory") == 0);
      CHECK(model || (!tokens && !array));
      if (model) CHECK(crisp_model_predict(model, texts, text_count, NULL, NULL, NULL) == CRISP_OK);
      ++failed;
    }
    crisp_free(tokens);
    crisp_free(array);
    crisp_model_free(model);
    CHECK(mine.blocks == 0);
    if (code == CRISP_OK) break;
  }
  CHECK(failed == 3);
}
