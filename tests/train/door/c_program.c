/* A C99 program over crisp.h: c_program BASE_MODEL, which is weights/sample and has no head. */
#include "c_program.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures = 0;

int check(int holds, const char* file, int line, const char* condition) {
  if (!holds) {
    ++failures;
    printf("%s:%d: %s (last error: %s)\n", file, line, condition, crisp_last_error());
  }
  return holds;
}

static const crisp_example examples[] = {{"The ending is beautiful.", 1},
                                         {"A dull film with a weak plot.", 0},
                                         {"The camera work earns its tears.", 1},
                                         {"The jokes are tired.", 0},
                                         {"A moving film.", 1}};
enum { example_count = sizeof examples / sizeof *examples };

/* ---- a host's functions ---- */

static void take_line(void* user, const char* line) {
  if (line[0] != '\0') ++((struct counts*)user)->lines;
}

void* take_memory(void* user, size_t size) {
  struct counts* c = user;
  void* block;
  if (c->fail_after == 0) return NULL;
  if (c->fail_after > 0) --c->fail_after;
  block = malloc(size);
  if (block) ++c->blocks;
  return block;
}

void give_memory(void* user, void* block) {
  if (block) --((struct counts*)user)->blocks;
  free(block);
}

static int read_part(void* user, const char* name, uint64_t offset, void* out, size_t size, uint64_t* file_size) {
  const struct counts* c = user;
  size_t i;
  if (c->fail_reading) return 7;
  for (i = 0; i < c->files->count; ++i) {
    const crisp_file* file = &c->files->files[i];
    if (strcmp(file->name, name) != 0) continue;
    *file_size = file->size;
    if (offset > file->size || size > file->size - offset) return 8;
    if (size > 0) memcpy(out, (const char*)file->data + offset, size);
    return 0;
  }
  return CRISP_NO_FILE;
}

static int on_step(void* user, const crisp_step* step) {
  struct counts* c = user;
  ++c->steps;
  CHECK(step->step == c->steps);
  CHECK(step->loss > 0 && step->grad_norm > 0);
  return c->steps == c->stop_after;
}

static int on_evaluation(void* user, const crisp_evaluation* evaluation) {
  struct counts* c = user;
  ++c->evaluations;
  CHECK(evaluation->total == 2);
  CHECK(evaluation->correct >= 0 && evaluation->correct <= 2);
  return 0;
}

/* ---- the tests ---- */

void set(crisp_context* context, const char* name, const char* value) {
  REQUIRE(crisp_context_set(context, name, value) == CRISP_OK);
}

static void test_version(void) {
  char built[64];
  snprintf(built, sizeof built, "%d.%d.%d", CRISP_VERSION_MAJOR, CRISP_VERSION_MINOR, CRISP_VERSION_PATCH);
  CHECK(strcmp(built, CRISP_VERSION_STRING) == 0);
  CHECK(strcmp(crisp_version(), CRISP_VERSION_STRING) == 0);
  CHECK(strcmp(crisp_code_name(CRISP_OK), "ok") == 0);
  CHECK(strcmp(crisp_code_name(CRISP_NOT_FINITE), "not finite") == 0);
  CHECK(strcmp(crisp_code_name(99), "unknown code") == 0);
}

static crisp_tuner* new_tuner(crisp_context* context, const char* base) {
  crisp_tuner* tuner = NULL;
  REQUIRE(crisp_tuner_new(context, base, examples, example_count, examples, 2, &tuner) == CRISP_OK);
  return tuner;
}

static void test_tuning(crisp_context* context, const char* base, struct counts* counts, crisp_files** saved) {
  crisp_tuner *tuner = new_tuner(context, base), *cut = new_tuner(context, base);
  crisp_files* of_cut = NULL;
  crisp_step step;
  crisp_evaluation evaluation;
  int finished = -1, event = -1;
  size_t i;

  memset(&step, 0, sizeof step);
  CHECK(crisp_tuner_finished(tuner, &finished) == CRISP_OK && finished == 0);
  CHECK(crisp_tuner_step(tuner, &step) == CRISP_OK);
  CHECK(step.step == 1 && step.total_steps == 4 && step.loss > 0.1 && step.loss < 3 && step.learning_rate > 0);
  CHECK(crisp_tuner_step(tuner, NULL) == CRISP_OK);
  CHECK(crisp_tuner_run(tuner, NULL, NULL, NULL) == CRISP_OK);
  CHECK(crisp_tuner_finished(tuner, &finished) == CRISP_OK && finished == 1);
  CHECK(crisp_tuner_step(tuner, &step) == CRISP_USAGE);
  CHECK(strstr(crisp_tuner_error(tuner), "finished") != NULL);
  CHECK(crisp_tuner_evaluate(tuner, examples, example_count, &evaluation) == CRISP_OK);
  CHECK(evaluation.step == 4 && evaluation.total == example_count && evaluation.loss > 0);
  REQUIRE(crisp_tuner_save_memory(tuner, saved) == CRISP_OK);

  counts->stop_after = 3;
  CHECK(crisp_tuner_run(cut, on_step, on_evaluation, counts) == CRISP_STOPPED);
  CHECK(strstr(crisp_last_error(), "stopped") != NULL);
  CHECK(counts->steps == 3 && counts->evaluations == 1);
  CHECK(crisp_tuner_next(cut, NULL, &step, &evaluation) == CRISP_USAGE);
  CHECK(crisp_tuner_next(cut, &event, &step, NULL) == CRISP_OK && event == CRISP_EVENT_STEP && step.step == 4);
  CHECK(crisp_tuner_next(cut, &event, NULL, &evaluation) == CRISP_OK && event == CRISP_EVENT_EVALUATION);
  CHECK(evaluation.step == 4 && evaluation.total == 2);
  for (i = 0; i < 2; ++i)
    CHECK(crisp_tuner_next(cut, &event, &step, &evaluation) == CRISP_OK && event == CRISP_EVENT_END);
  CHECK(crisp_tuner_run(cut, on_step, on_evaluation, counts) == CRISP_OK);
  CHECK(counts->steps == 3 && counts->evaluations == 1);
  REQUIRE(crisp_tuner_save_memory(cut, &of_cut) == CRISP_OK);
  REQUIRE(of_cut->count == (*saved)->count);
  for (i = 0; i < of_cut->count; ++i) {
    const crisp_file *a = &of_cut->files[i], *b = &(*saved)->files[i];
    CHECK(strcmp(a->name, b->name) == 0);
    CHECK(a->size == b->size && memcmp(a->data, b->data, a->size) == 0);
  }

  CHECK(crisp_tuner_save(tuner, "c_program_saved", 1) == CRISP_OK);
  CHECK(crisp_tuner_save(tuner, "c_program_saved", 0) == CRISP_USAGE);
  crisp_free(of_cut);
  crisp_tuner_free(cut);
  crisp_tuner_free(tuner);
}

static void test_loading(crisp_context* context, struct counts* counts) {
  crisp_model *models[3] = {NULL, NULL, NULL}, *none = NULL;
  double logits[3][2 * text_count], scores[2 * text_count];
  int32_t labels[text_count], count = 0;
  const char* name = NULL;
  size_t i, k;

  REQUIRE(crisp_model_load(context, "c_program_saved", &models[0]) == CRISP_OK);
  REQUIRE(crisp_model_load_memory(context, counts->files->files, counts->files->count, &models[1]) == CRISP_OK);
  REQUIRE(crisp_model_load_callback(context, read_part, counts, &models[2]) == CRISP_OK);
  for (i = 0; i < 3; ++i) {
    CHECK(crisp_model_num_labels(models[i], &count) == CRISP_OK && count == 2);
    CHECK(crisp_model_predict(models[i], texts, text_count, labels, logits[i], scores) == CRISP_OK);
    CHECK(memcmp(logits[i], logits[0], sizeof logits[0]) == 0);
    for (k = 0; k < text_count; ++k) {
      const double a = logits[i][2 * k], b = logits[i][2 * k + 1];
      CHECK(labels[k] == (b > a));
      CHECK(fabs(scores[2 * k + 1] - 1 / (1 + exp(a - b))) < 1e-12);
    }
  }
  CHECK(crisp_model_predict(models[0], texts, text_count, NULL, NULL, NULL) == CRISP_OK);
  CHECK(crisp_model_predict(models[0], NULL, 0, NULL, NULL, NULL) == CRISP_OK);
  CHECK(crisp_model_label_name(models[0], 1, &name) == CRISP_OK && strcmp(name, "good") == 0);
  CHECK(crisp_model_label_name(models[0], 2, &name) == CRISP_USAGE);
  CHECK(strstr(crisp_model_error(models[0]), "label 2: the model has 2") != NULL);
  CHECK(strcmp(crisp_model_error(models[1]), "") == 0);

  counts->fail_reading = 1;
  CHECK(crisp_model_load_callback(context, read_part, counts, &none) == CRISP_STOPPED);
  counts->fail_reading = 0;
  CHECK(crisp_model_load(context, "no/such/directory", &none) == CRISP_BAD_INPUT);
  CHECK(strstr(crisp_context_error(context), "no/such/directory") != NULL);
  CHECK(strcmp(crisp_context_error(context), crisp_last_error()) == 0);
  CHECK(crisp_model_load_memory(context, counts->files->files, 1, &none) == CRISP_BAD_INPUT);
  CHECK(none == NULL);
  for (i = 0; i < 3; ++i) crisp_model_free(models[i]);

  /* Copied weights do not notice what becomes of their file. */
  set(context, "map_weights", "off");
  REQUIRE(crisp_model_load(context, "c_program_saved", &models[0]) == CRISP_OK);
  set(context, "map_weights", "on");
  {
    FILE* emptied = fopen("c_program_saved/model.safetensors", "wb");
    REQUIRE(emptied != NULL);
    fclose(emptied);
  }
  CHECK(crisp_model_predict(models[0], texts, text_count, labels, logits[1], scores) == CRISP_OK);
  CHECK(memcmp(logits[1], logits[0], sizeof logits[0]) == 0);
  crisp_model_free(models[0]);
}

static double logit_of(const crisp_model* model, const char* text, int label) {
  double logits[2];
  REQUIRE(crisp_model_predict(model, &text, 1, NULL, logits, NULL) == CRISP_OK);
  return logits[label];
}

static void test_inside(crisp_context* context, const struct counts* counts) {
  const char *text = "A beautiful film.", *bias = "pre_classifier.bias", *name = NULL;
  crisp_model* model = NULL;
  crisp_tokens* tokens = NULL;
  crisp_array *weights = NULL, *states = NULL, *gradient = NULL, *values = NULL;
  double value = 0, sum = 0;
  size_t i, n, parameters = 0, not_zero = 0;

  set(context, "precision", "f64");
  REQUIRE(crisp_model_load_memory(context, counts->files->files, counts->files->count, &model) == CRISP_OK);
  REQUIRE(crisp_model_tokenize(model, text, &tokens) == CRISP_OK);
  n = tokens->count;
  REQUIRE(n == 6);
  CHECK(strcmp(tokens->tokens[0].piece, "[CLS]") == 0);
  CHECK(strcmp(tokens->tokens[2].piece, "beautiful") == 0);
  CHECK(tokens->tokens[2].begin == 2 && tokens->tokens[2].end == 11);

  REQUIRE(crisp_model_attention(model, text, 3, &weights) == CRISP_OK);
  CHECK(weights->rank == 3 && weights->shape[0] == 4 && weights->shape[1] == (int64_t)n);
  CHECK(weights->size == 4 * n * n);
  for (i = 0; i < n; ++i) sum += weights->values[i];
  CHECK(fabs(sum - 1) < 1e-12);
  REQUIRE(crisp_model_hidden(model, text, 4, &states) == CRISP_OK);
  CHECK(states->rank == 2 && states->shape[0] == (int64_t)n && states->shape[1] == 128);
  crisp_free(weights);
  weights = NULL;
  CHECK(crisp_model_attention(model, text, 4, &weights) == CRISP_USAGE && weights == NULL);

  /* A gradient against differences of the model's own answers. */
  REQUIRE(crisp_model_gradient(model, text, CRISP_LOGIT, 1, bias, &value, &gradient) == CRISP_OK);
  REQUIRE(gradient->rank == 1 && gradient->size == 128);
  CHECK(fabs(value - logit_of(model, text, 1)) < 1e-12);
  REQUIRE(crisp_model_parameter(model, bias, &values) == CRISP_OK);
  {
    double changed[128];
    const double h = 1e-5;
    memcpy(changed, values->values, sizeof changed);
    for (i = 0; i < 128; i += 8) {
      double up, down;
      changed[i] += h;
      CHECK(crisp_model_set_parameter(model, bias, changed, 128) == CRISP_OK);
      up = logit_of(model, text, 1);
      changed[i] -= 2 * h;
      CHECK(crisp_model_set_parameter(model, bias, changed, 128) == CRISP_OK);
      down = logit_of(model, text, 1);
      changed[i] += h;
      CHECK(fabs((up - down) / (2 * h) - gradient->values[i]) < 1e-8);
      not_zero += gradient->values[i] != 0;
    }
    CHECK(not_zero > 3);
    CHECK(crisp_model_set_parameter(model, bias, changed, 127) == CRISP_USAGE);
    changed[0] = NAN;
    CHECK(crisp_model_set_parameter(model, bias, changed, 128) == CRISP_OK);
    CHECK(crisp_model_predict(model, &text, 1, NULL, NULL, NULL) == CRISP_NOT_FINITE);
    CHECK(strstr(crisp_model_error(model), bias) != NULL);
    CHECK(crisp_model_set_parameter(model, bias, values->values, values->size) == CRISP_OK);
  }
  crisp_free(gradient);
  REQUIRE(crisp_model_gradient(model, text, CRISP_LOSS, 0, NULL, NULL, &gradient) == CRISP_OK);
  CHECK(gradient->rank == 2 && gradient->shape[0] == (int64_t)n && gradient->shape[1] == 128);

  CHECK(crisp_model_parameter_count(model, &parameters) == CRISP_OK && parameters == 4 + 4 * 16 + 4);
  CHECK(crisp_model_parameter_name(model, parameters - 1, &name) == CRISP_OK);
  CHECK(strcmp(name, "classifier.bias") == 0);
  CHECK(crisp_model_parameter_name(model, parameters, &name) == CRISP_USAGE);
  crisp_free(tokens);
  crisp_free(states);
  crisp_free(gradient);
  crisp_free(values);
  crisp_model_free(model);
  set(context, "precision", "f32");
}

int main(int argc, char** argv) {
  crisp_context* context = NULL;
  struct counts counts;
  crisp_files* saved = NULL;

  if (argc != 2) return 2;
  memset(&counts, 0, sizeof counts);
  counts.fail_after = -1;
  CHECK(strcmp(crisp_last_error(), "") == 0);
  REQUIRE(crisp_context_new(&context) == CRISP_OK);
  REQUIRE(crisp_context_set_log(context, take_line, &counts) == CRISP_OK);
  REQUIRE(crisp_context_set_allocator(context, take_memory, give_memory, &counts) == CRISP_OK);
  set(context, "threads", "1");
  set(context, "batch-size", "2");
  set(context, "max-steps", "4");
  set(context, "learning-rate", "5e-4");
  set(context, "label-names", "bad,good");
  set(context, "eval-steps", "2");

  test_version();
  test_tuning(context, argv[1], &counts, &saved);
  CHECK(counts.lines > 0); /* the sample has no head */
  counts.files = saved;
  CHECK(counts.blocks == 1); /* what was saved */
  test_loading(context, &counts);
  CHECK(counts.blocks == 1);
  test_inside(context, &counts);
  CHECK(counts.blocks == 1);
  test_wrong_use(context, argv[1], &counts);
  CHECK(counts.blocks == 1);
  test_memory(&counts);
  crisp_free(saved);
  CHECK(counts.blocks == 0);
  crisp_context_free(context);
  return failures == 0 ? 0 : 1;
}
