// What `step` trains on: real sentences, or random ones where there are none.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "data/batch.h"

namespace crisp::bench {

struct SentenceOptions {
  std::string data;   // a folder with train.tsv, or a file; empty: looked for
  std::string vocab;  // empty: looked for
  int64_t fixed = 0;  // above 0: random tokens, all sentences this long
  int64_t max_length = 128;
  int64_t vocab_size = 30522;  // of random tokens
  int64_t labels = 2;          // of random tokens
  int64_t count = 0;           // of random sentences
  uint64_t seed = 0;
};

struct Sentences {
  std::unique_ptr<TokenizedDataset> data;
  int64_t vocab_size;
  std::string what;  // "67349 sentences of DIR/train.tsv", "random tokens, ..."
};

/// Without `data`, the folder that the environment variable CRISP_DATASETS names, or ../shared/datasets beside the
/// source tree, with sst2/train.tsv and bert-base-uncased/vocab.txt. Where neither has them: random tokens, with
/// lengths distributed as in SST-2's training set. Throws BadInput or UsageError for files that were asked for.
Sentences load_sentences(const SentenceOptions& options, int threads);

}  // namespace crisp::bench
