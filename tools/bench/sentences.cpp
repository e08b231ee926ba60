#include "tools/bench/sentences.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "data/dataset.h"
#include "data/tokenizer_files.h"
#include "data/wordpiece.h"
#include "engine/fail.h"
#include "engine/random.h"

namespace crisp::bench {
namespace {

namespace fs = std::filesystem;

// Twentieths of the lengths of SST-2's training sentences in WordPiece tokens, [CLS] and [SEP] included.
constexpr double sst2_lengths[] = {3, 4, 4, 5, 6, 6, 7, 8, 8, 9, 10, 11, 13, 14, 16, 18, 20, 23, 27, 33, 66};

struct Files {
  std::string train, vocab;
};

Files default_files() {
  std::vector<fs::path> folders;
  if (const char* named = std::getenv("CRISP_DATASETS"); named && *named) folders.emplace_back(named);
  folders.push_back(fs::path(CRISP_SOURCE_ROOT) / "../shared/datasets");
  for (const fs::path& folder : folders) {
    const fs::path train = folder / "sst2/train.tsv", vocab = folder / "bert-base-uncased/vocab.txt";
    std::error_code error;
    if (fs::exists(train, error) && fs::exists(vocab, error))
      return {fs::weakly_canonical(train).string(), fs::weakly_canonical(vocab).string()};
  }
  return {};
}

// Sentences of words that stand for the ids of a vocabulary of the wanted size.
Sentences random_sentences(const SentenceOptions& o, int threads) {
  constexpr int64_t specials = 5;
  if (o.vocab_size <= 2 * specials) fail<UsageError>("a vocabulary of {} is too small for random tokens", o.vocab_size);
  const int64_t first_word = std::min<int64_t>(1000, o.vocab_size / 2);  // as in BERT's vocabulary
  std::vector<std::string> tokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  for (int64_t id = specials; id < o.vocab_size; ++id) tokens.push_back(fmt::format("w{}", id));
  const WordPiece tokenizer = WordPiece::from_tokens(tokens);

  const RandomKey key{o.seed, Stream::masks, 0, 0};
  uint64_t drawn = 0;
  const auto uniform = [&] { return static_cast<double>(uniform01(random_word(key, drawn++))); };
  const auto length = [&]() -> int64_t {
    if (o.fixed > 0) return o.fixed;
    const double at = uniform() * (std::size(sst2_lengths) - 1);
    const auto below = static_cast<size_t>(at);
    const double between = sst2_lengths[below + 1] - sst2_lengths[below];
    return std::lround(sst2_lengths[below] + (at - std::floor(at)) * between);
  };
  // Words of real sentences repeat, roughly as 1 / rank; of one length, they are uniform, as the PyTorch peer's are.
  const auto word = [&] {
    const auto words = static_cast<double>(o.vocab_size - first_word);
    const double rank = o.fixed > 0 ? uniform() * words : std::exp(uniform() * std::log(words)) - 1;
    return std::min(first_word + static_cast<int64_t>(rank), o.vocab_size - 1);
  };

  Dataset dataset;
  dataset.num_labels = static_cast<int>(o.labels);
  for (int64_t i = 0; i < o.count; ++i) {
    std::string text;
    const int64_t words = std::min(length(), o.max_length) - 2;
    for (int64_t w = 0; w < words; ++w) fmt::format_to(std::back_inserter(text), "w{} ", word());
    const auto label = static_cast<int32_t>(uniform() * static_cast<double>(o.labels));
    dataset.examples.push_back({text, label});
  }
  const std::string what = o.fixed > 0 ? fmt::format("random tokens, {} in each sentence", o.fixed)
                                       : "random tokens, lengths distributed as in SST-2";
  return {std::make_unique<TokenizedDataset>(dataset, tokenizer, static_cast<int>(o.max_length), "", threads),
          o.vocab_size, what};
}

}  // namespace

Sentences load_sentences(const SentenceOptions& o, int threads) {
  if (o.fixed > 0) return random_sentences(o, threads);
  Files files = default_files();
  if (!o.data.empty()) files.train = fs::is_directory(o.data) ? find_dataset(o.data).train : o.data;
  if (!o.vocab.empty()) files.vocab = o.vocab;
  if (files.train.empty() && o.data.empty()) return random_sentences(o, threads);
  if (files.train.empty()) fail<BadInput>("{} has no train.tsv", o.data);
  const Dataset dataset = read_dataset(files.train, {});
  if (!dataset.labelled()) fail<BadInput>("{}: a training set needs labels", files.train);
  if (files.vocab.empty()) fail<UsageError>("sentences need a vocabulary; give --vocab FILE");
  const WordPiece tokenizer = read_tokenizer("", files.vocab).tokenizer();
  auto data = std::make_unique<TokenizedDataset>(dataset, tokenizer, static_cast<int>(o.max_length), "", threads);
  const std::string what = fmt::format("{} sentences of {}", data->size(), files.train);
  return {std::move(data), tokenizer.size(), what};
}

}  // namespace crisp::bench
