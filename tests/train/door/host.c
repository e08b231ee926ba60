/* How libcrisp.so behaves in a program that does not expect anything of it: host LIBRARY SAMPLE DIRECTORY
 *
 * LIBRARY is opened by dlopen(); SAMPLE is a checkpoint without a head, of which a model is made in DIRECTORY. Ends
 * with the number of the first line that found something. */
#define _GNU_SOURCE
#include <crisp/crisp.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Standard error belongs to the test: a copy of it, since the real one is watched. */
static int messages = 2;
#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      dprintf(messages, "host.c:%d: not %s\n", __LINE__, #condition); \
      _exit(1);                                                       \
    }                                                                 \
  } while (0)

/* The library's functions that are used here, by their own types. */
/* clang-format off */
#define FUNCTIONS(F)                                                                                            \
  F(crisp_version) F(crisp_last_error) F(crisp_context_new) F(crisp_context_free) F(crisp_context_set)          \
  F(crisp_model_load) F(crisp_model_free) F(crisp_model_predict) F(crisp_model_gradient) F(crisp_free)          \
  F(crisp_model_error) F(crisp_model_label_name) F(crisp_tuner_new) F(crisp_tuner_run) F(crisp_tuner_step)      \
  F(crisp_tuner_save) F(crisp_tuner_free)
/* clang-format on */
#define DECLARE(name) __typeof__(name)* name;
#define FIND(name)                            \
  *(void**)&api.name = dlsym(library, #name); \
  CHECK(api.name);
static struct { FUNCTIONS(DECLARE) } api;

static const char* path_of_library;
static char path_of_model[4096];
static void* library;

static void open_library(void) {
  library = dlopen(path_of_library, RTLD_NOW | RTLD_LOCAL);
  if (!library) dprintf(messages, "%s\n", dlerror());
  CHECK(library);
  FUNCTIONS(FIND)
}

static const char* texts[] = {"a moving film", "the plot is dull", "two hours too long , and the ending worse"};
enum { count = 3 };
typedef struct {
  double logits[2 * count];
} answers;

static crisp_model* load(const char* threads) {
  crisp_context* context = NULL;
  crisp_model* model = NULL;
  CHECK(api.crisp_context_new(&context) == CRISP_OK);
  CHECK(api.crisp_context_set(context, "threads", threads) == CRISP_OK);
  const int code = api.crisp_model_load(context, path_of_model, &model);
  if (code) dprintf(messages, "%s\n", api.crisp_last_error());
  CHECK(code == CRISP_OK);
  api.crisp_context_free(context);
  return model;
}

static answers predict(const crisp_model* model) {
  answers a;
  CHECK(api.crisp_model_predict(model, texts, count, NULL, a.logits, NULL) == CRISP_OK);
  return a;
}

static int same(answers a, answers b) { return memcmp(&a, &b, sizeof a) == 0; }

/* Of the tokens, and of a parameter behind all layers: the first values of both. */
typedef struct {
  double values[2 * 64];
} slopes;

static slopes differentiate(const crisp_model* model) {
  slopes all;
  for (int i = 0; i < 2; ++i) {
    crisp_array* gradient = NULL;
    const char* of = i ? "distilbert.transformer.layer.0.attention.q_lin.weight" : NULL;
    CHECK(api.crisp_model_gradient(model, texts[2], CRISP_LOSS, 1, of, NULL, &gradient) == CRISP_OK);
    CHECK(gradient->size > 64);
    memcpy(all.values + (size_t)i * 64, gradient->values, sizeof all / 2);
    api.crisp_free(gradient);
  }
  return all;
}

static void fail_in(const crisp_model* model) {
  const char* name = NULL;
  CHECK(api.crisp_model_label_name(model, 99, &name) == CRISP_USAGE);
  CHECK(strstr(api.crisp_model_error(model), "99"));
}

static crisp_tuner* make_tuner(const char* path, const char* steps) {
  const crisp_example examples[] = {{"a moving film", 1}, {"the plot is dull", 0}, {"what an ending", 1}};
  crisp_context* context = NULL;
  crisp_tuner* tuner = NULL;
  CHECK(api.crisp_context_new(&context) == CRISP_OK);
  CHECK(api.crisp_context_set(context, "max-steps", steps) == CRISP_OK);
  CHECK(api.crisp_context_set(context, "threads", "2") == CRISP_OK);
  CHECK(api.crisp_tuner_new(context, path, examples, 3, NULL, 0, &tuner) == CRISP_OK);
  api.crisp_context_free(context);
  return tuner;
}

static void make_model(const char* sample) {
  crisp_tuner* tuner = make_tuner(sample, "3");
  CHECK(api.crisp_tuner_run(tuner, NULL, NULL, NULL) == CRISP_OK);
  CHECK(api.crisp_tuner_save(tuner, path_of_model, 1) == CRISP_OK);
  api.crisp_tuner_free(tuner);
}

/* A number of /proc/self/status: "Threads:", "VmRSS:" in kB. */
static long status(const char* key) {
  char line[256];
  long value = -1;
  FILE* f = fopen("/proc/self/status", "r");
  CHECK(f);
  while (fgets(line, sizeof line, f))
    if (!strncmp(line, key, strlen(key))) value = strtol(line + strlen(key), NULL, 10);
  fclose(f);
  return value;
}

static int is_mapped(const char* file) {
  char line[8192];
  int found = 0;
  FILE* f = fopen("/proc/self/maps", "r");
  CHECK(f);
  while (fgets(line, sizeof line, f)) found |= strstr(line, file) != NULL;
  fclose(f);
  return found;
}

static double cpu_seconds(void) {
  struct timespec t;
  CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) == 0);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A library that is opened and closed again and again leaves nothing: no thread, no mapping, no memory. */
static void open_and_close(answers expected) {
  long early = 0;
  for (int i = 0; i < 100; ++i) {
    open_library();
    crisp_model* model = load(i % 2 ? "1" : "2");
    CHECK(same(predict(model), expected));
    CHECK(is_mapped("model.safetensors"));
    api.crisp_model_free(model);
    CHECK(!is_mapped("model.safetensors"));
    CHECK(dlclose(library) == 0);
    CHECK(!is_mapped("libcrisp"));
    CHECK(status("Threads:") == 1);
    if (i == 9) early = status("VmRSS:");
  }
  CHECK(status("VmRSS:") < early + 8 * 1024);
}

static void must_end_well(pid_t child) {
  int result = 0;
  CHECK(waitpid(child, &result, 0) == child);
  if (WIFSIGNALED(result)) dprintf(messages, "a child ended by signal %d\n", WTERMSIG(result));
  CHECK(WIFEXITED(result) && WEXITSTATUS(result) == 0);
}

static void predict_in_a_child(const crisp_model* model, answers expected) {
  const pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    CHECK(same(predict(model), expected));
    crisp_model* own = load("2");
    CHECK(same(predict(own), expected));
    api.crisp_model_free(own);
    _exit(0);
  }
  must_end_well(child);
  CHECK(same(predict(model), expected)); /* and the parent goes on */
}

/* What the threads of a busy host do all the time, each with its own number of rounds. */
static void predict_once(void* model) { predict(model); }
static void differentiate_once(void* model) { differentiate(model); }
static void fail_once(void* model) { fail_in(model); }
static void train_once(void* tuner) { CHECK(api.crisp_tuner_step(tuner, NULL) == CRISP_OK); }
static void load_once(void* unused) {
  (void)unused;
  api.crisp_model_free(load("1"));
}
typedef struct {
  void (*once)(void*);
  void* of;
  atomic_long rounds;
} busy;
static atomic_int over;
static void* keep_busy(void* one) {
  busy* b = one;
  for (; !over; ++b->rounds) b->once(b->of);
  return NULL;
}

/* Whatever the other threads are doing when a process forks, the child has its models. */
static void children_of_a_busy_host(crisp_model* model, answers expected) {
  enum { threads = 7, children = 50 };
  crisp_tuner* tuner = make_tuner(path_of_model, "1000000");
  busy all[threads] = {{predict_once, model, 0},
                       {predict_once, model, 0},
                       {differentiate_once, model, 0},
                       {differentiate_once, model, 0},
                       {fail_once, model, 0},
                       {train_once, tuner, 0},
                       {load_once, NULL, 0}};
  const slopes expected_slopes = differentiate(model);
  pthread_t ids[threads];
  for (int i = 0; i < threads; ++i) CHECK(pthread_create(&ids[i], NULL, keep_busy, &all[i]) == 0);
  const struct timespec moment = {0, 1000000};
  for (int i = 0; i < threads; ++i)
    while (all[i].rounds < 2) nanosleep(&moment, NULL);
  for (int i = 0; i < children; ++i) {
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(300); /* one that waits for a thread that it has not waits for ever */
      const slopes now = differentiate(model);
      CHECK(memcmp(&now, &expected_slopes, sizeof now) == 0);
      CHECK(same(predict(model), expected));
      fail_in(model);
      if (i % 8 == 0) {
        crisp_model* own = load("2");
        CHECK(same(predict(own), expected));
        api.crisp_model_free(own);
      }
      _exit(0);
    }
    must_end_well(child);
  }
  over = 1;
  for (int i = 0; i < threads; ++i) CHECK(pthread_join(ids[i], NULL) == 0);
  const slopes now = differentiate(model);
  CHECK(memcmp(&now, &expected_slopes, sizeof now) == 0);
  api.crisp_tuner_free(tuner);
}

static void* make_first_tuner(void* unused) {
  api.crisp_tuner_free(make_tuner(path_of_model, "1"));
  return unused;
}

/* A child that trains, of a host with a model whose first tuner was being made at that moment. */
static void children_of_a_first_tuner(void) {
  for (int i = 0; i < 20; ++i) {
    crisp_context* context = NULL;
    crisp_model* model = NULL;
    open_library();
    CHECK(api.crisp_context_new(&context) == CRISP_OK);
    CHECK(api.crisp_model_load(context, path_of_model, &model) == CRISP_OK);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, make_first_tuner, NULL) == 0);
    const struct timespec moment = {0, i * 10000};
    nanosleep(&moment, NULL);
    const pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
      alarm(300);
      crisp_tuner* tuner = make_tuner(path_of_model, "1");
      CHECK(api.crisp_tuner_step(tuner, NULL) == CRISP_OK);
      _exit(0);
    }
    must_end_well(child);
    CHECK(pthread_join(thread, NULL) == 0);
    api.crisp_model_free(model);
    api.crisp_context_free(context);
    CHECK(dlclose(library) == 0);
  }
}

static answers expected_of_all;
static void* work(void* model) {
  for (int i = 0; i < 5; ++i) CHECK(same(predict(model), expected_of_all));
  return NULL;
}

/* With threads=1 a call is made by the caller's thread: a hundred of them add none of the library's. */
static void a_hundred_threads(answers expected) {
  crisp_model* model = load("1");
  const long before = status("Threads:");
  pthread_t threads[100];
  pthread_attr_t small;
  expected_of_all = expected;
  CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 1 << 20) == 0);
  for (int i = 0; i < 100; ++i) CHECK(pthread_create(&threads[i], &small, work, model) == 0);
  CHECK(status("Threads:") <= before + 100);
  for (int i = 0; i < 100; ++i) CHECK(pthread_join(threads[i], NULL) == 0);
  CHECK(status("Threads:") == before);
  api.crisp_model_free(model);
}

static void idle_threads_sleep(const crisp_model* model) {
  predict(model);
  const struct timespec moment = {0, 100000000}, long_time = {0, 400000000};
  nanosleep(&moment, NULL);
  const double before = cpu_seconds();
  nanosleep(&long_time, NULL);
  CHECK(cpu_seconds() - before < 0.04);
}

int main(int argc, char** argv) {
  CHECK(argc == 4);
  path_of_library = argv[1];
  snprintf(path_of_model, sizeof path_of_model, "%s/model", argv[3]);

  /* What a host would notice: it looks at all of it afterwards. */
  CHECK(clearenv() == 0 && chdir("/") == 0);
  CHECK(setlocale(LC_ALL, "C"));
  struct sigaction handlers[65];
  for (int s = 1; s < 65; ++s)
    if (sigaction(s, NULL, &handlers[s])) memset(&handlers[s], 0, sizeof handlers[s]);
  sigset_t mask;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
  const mode_t creation = umask(022);
  umask(creation);
  char said[4096];
  snprintf(said, sizeof said, "%s/said", argv[3]);
  messages = fcntl(2, F_DUPFD_CLOEXEC, 3);
  const int watched = open(said, O_RDWR | O_CREAT | O_TRUNC, 0600);
  CHECK(messages >= 0 && watched >= 0 && dup2(watched, 1) == 1 && dup2(watched, 2) == 2);

  open_library();
  CHECK(!strcmp(api.crisp_version(), CRISP_VERSION_STRING));
  make_model(argv[2]);
  crisp_model* model = load("2");
  const answers expected = predict(model);
  differentiate(model);
  idle_threads_sleep(model);
  predict_in_a_child(model, expected);
  children_of_a_busy_host(model, expected);
  a_hundred_threads(expected);
  api.crisp_model_free(model);
  CHECK(dlclose(library) == 0);
  children_of_a_first_tuner();
  open_and_close(expected);

  CHECK(!strcmp(setlocale(LC_ALL, NULL), "C"));
  for (int s = 1; s < 65; ++s) {
    struct sigaction now;
    if (sigaction(s, NULL, &now) == 0) CHECK(now.sa_handler == handlers[s].sa_handler);
  }
  sigset_t mask_now;
  CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask_now) == 0);
  for (int s = 1; s < 65; ++s) CHECK(sigismember(&mask, s) == sigismember(&mask_now, s));
  CHECK(umask(creation) == creation);
  char where[8];
  CHECK(getcwd(where, sizeof where) && !strcmp(where, "/"));
  struct stat silence;
  CHECK(fstat(watched, &silence) == 0 && silence.st_size == 0);
  dprintf(messages, "a host notices nothing\n");
  return 0;
}
