/* c_consumer BASE: fine-tunes a step on a model and asks the result. */
#include <crisp/crisp.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char** argv) {
  const crisp_example examples[] = {{"a moving film", 1}, {"a dull plot", 0}};
  const char* text = "a moving film";
  crisp_context* context = NULL;
  crisp_tuner* tuner = NULL;
  crisp_model* model = NULL;
  double scores[2] = {0, 0};
  int code;
  if (argc != 2 || strcmp(crisp_version(), CRISP_VERSION_STRING) != 0) return 90;
  code = crisp_context_new(&context);
  if (!code) code = crisp_context_set(context, "max-steps", "1");
  if (!code) code = crisp_tuner_new(context, argv[1], examples, 2, NULL, 0, &tuner);
  if (!code) code = crisp_tuner_step(tuner, NULL);
  if (!code) code = crisp_tuner_model(tuner, &model);
  if (!code) code = crisp_model_predict(model, &text, 1, NULL, NULL, scores);
  if (!code && !(scores[0] + scores[1] > 0.999 && scores[0] + scores[1] < 1.001)) code = 91;
  if (code) fprintf(stderr, "%s: %s\n", crisp_code_name(code), crisp_last_error());
  crisp_model_free(model);
  crisp_tuner_free(tuner);
  crisp_context_free(context);
  return code;
}
