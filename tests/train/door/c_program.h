/* What the files of the C99 program share. */
#ifndef CRISP_TESTS_C_PROGRAM_H
#define CRISP_TESTS_C_PROGRAM_H

#include <crisp/crisp.h>
#include <stdlib.h>

/* Prints and counts what does not hold. */
int check(int holds, const char* file, int line, const char* condition);
#define CHECK(condition) check(condition, __FILE__, __LINE__, #condition)
#define REQUIRE(condition) \
  if (!check(condition, __FILE__, __LINE__, #condition)) exit(1)

static const char* const texts[] = {"A beautiful film.", "The plot is weak.", ""};
enum { text_count = sizeof texts / sizeof *texts };

struct counts {
  int lines, steps, evaluations, stop_after;
  long blocks, fail_after; /* blocks that live; how many may still be made, below 0: all */
  const crisp_files* files;
  int fail_reading;
};

/* An allocator that counts, and fails when it shall; `user` is a struct counts. */
void* take_memory(void* user, size_t size);
void give_memory(void* user, void* block);

void set(crisp_context* context, const char* name, const char* value);

/* c_misuse.c */
void test_wrong_use(crisp_context* context, const char* base, const struct counts* counts);
void test_memory(const struct counts* counts);

#endif
