// crisp-inspect memory: how much memory a training step, or an inference, will take, before it is run.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "data/tokenizer_files.h"
#include "engine/backend.h"
#include "engine/cuda/rules.h"
#include "engine/fail.h"
#include "tools/inspect/commands.h"
#include "tools/inspect/output.h"
#include "tools/inspect/subject.h"
#include "tools/text_table.h"
#include "train/core/step_memory.h"
#include "train/durable/console.h"
#include "train/durable/output_directory.h"
#include "train/inference/limits.h"
#include "train/inference/model_files.h"
#include "weights/locate.h"

namespace crisp::inspect {
namespace {

using nlohmann::ordered_json;

struct MemoryOptions {
  std::string model, weights, init, text, vocab, parses;
  int64_t batch = 0, length = 0, max_length = 0, threads = 0, accumulation = 1;
  Precision precision = Precision::f32;
  DeviceChoice device = DeviceChoice::cpu;
  SparsityOptions sparse = {};
  bool infer = false, json = false;
  CLI::App* app = nullptr;  // whose options they are
};

struct Question {
  DistilBertConfig config;
  std::string name;  // of the model
};

Question question(const MemoryOptions& o) {
  if (!o.init.empty() && !(o.model.empty() && o.weights.empty()))
    fail<UsageError>("give one of --model, --weights and --init");
  if (o.init.empty() && o.model.empty() && o.weights.empty())
    fail<UsageError>("of which model? give --model DIR, --weights FILE or --init distilbert-base|config.json");
  const std::string given = o.init.empty() ? model_or_weights(o.model, o.weights) : o.init;
  Question q{config_without_weights(given, o.init), given};
  // A run does what its options say, an inference what the model was trained to do.
  if (!o.infer || any_sparsity_given(*o.app)) q.config.sparsity = make_sparsity(o.sparse, q.config.layers, 0);
  if (!o.init.empty() && !o.vocab.empty()) q.config.vocab_size = read_tokenizer("", o.vocab).tokenizer().size();
  return q;
}

// --batch sentences of --length tokens. Their words are as different as can be, since each takes a row of the word
// embeddings' gradient.
TokenizedDataset made_sentences(const MemoryOptions& o, const Question& q) {
  std::vector<std::string> tokens{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  const auto specials = std::ssize(tokens);
  const int64_t words = std::max<int64_t>(1, q.config.vocab_size - specials);
  for (int64_t i = 0; i < words; ++i) tokens.push_back(fmt::format("w{}", i));
  Dataset sentences{.path = "sentences", .examples = {}, .num_labels = 2};
  int64_t word = 0;
  for (int64_t s = 0; s < o.batch; ++s) {
    std::string text;
    for (int64_t i = 2; i < o.length; ++i) fmt::format_to(std::back_inserter(text), "w{} ", word++ % words);
    sentences.examples.push_back({text, 0});
  }
  return {sentences, WordPiece::from_tokens(tokens), static_cast<int>(o.length)};
}

// TEXT, --batch times.
TokenizedDataset given_sentences(const MemoryOptions& o, const Question& q) {
  std::string directory;
  if (o.init.empty())
    directory = std::filesystem::path(locate_weights(q.name)).parent_path().string();
  else if (o.init != "distilbert-base")
    directory = std::filesystem::path(o.init).parent_path().string();
  const bool anywhere = !o.vocab.empty() || o.init != "distilbert-base";
  const TokenizerFiles files =
      anywhere ? read_tokenizer(directory.empty() ? "." : directory, o.vocab) : TokenizerFiles();
  if (files.path.empty())
    fail<UsageError>("TEXT needs a vocabulary, and there is none beside {}; give --vocab FILE, or --batch and --length",
                     q.name);
  const WordPiece tokenizer = files.tokenizer();
  if (tokenizer.largest_id() >= q.config.vocab_size)
    fail<BadInput>("{} has {} tokens, but the model has embeddings for {}: this is not its vocabulary", files.path,
                   tokenizer.largest_id() + 1, q.config.vocab_size);
  const bool parsed = q.config.sparsity.needs_parses(!o.infer);
  if (parsed && o.parses.empty())
    fail<UsageError>("--sparse-method {} needs the sentence's dependency parse; give --parses FILE",
                     method_name(q.config.sparsity.method));
  const int64_t longest = o.max_length > 0 ? o.max_length : q.config.max_positions;
  Dataset one{.path = "TEXT", .examples = {{o.text, 0}}, .num_labels = 2};
  const TokenizedDataset data(one, tokenizer, static_cast<int>(longest), parsed ? o.parses : "");
  if (data.truncated() > 0) say("note: the text is longer than {} tokens and was cut", longest);
  return data.subset(std::vector<int32_t>(static_cast<size_t>(std::max<int64_t>(1, o.batch)), 0));
}

TokenizedDataset sentences(const MemoryOptions& o, const Question& q) {
  if (o.length > q.config.max_positions || o.max_length > q.config.max_positions)
    fail<UsageError>("--{} {} is more than the model's {} positions", o.length > 0 ? "length" : "max-length",
                     std::max(o.length, o.max_length), q.config.max_positions);
  if (!o.text.empty()) {
    if (o.length > 0) fail<UsageError>("--length is for --batch without a TEXT, whose words count");
    return given_sentences(o, q);
  }
  if (o.batch == 0 || o.length == 0)
    fail<UsageError>("of which batch? give a TEXT, or --batch N --length L: N sentences of L tokens");
  if (q.config.sparsity.needs_parses(!o.infer))
    fail<UsageError>("--sparse-method {} goes by a sentence's parse: give a TEXT and --parses FILE",
                     method_name(q.config.sparsity.method));
  return made_sentences(o, q);
}

// In the order in which people ask, with a title for each; what the forward pass keeps in between.
std::vector<std::pair<std::string, int64_t>> rows(const meta::Meter::Peak& peak) {
  namespace label = step_memory_label;
  const std::vector<std::pair<std::string, std::string>> first{
      {label::weights, "weights"}, {label::gradients, "their gradients"}, {label::moments, "moments of AdamW"}};
  const std::vector<std::pair<std::string, std::string>> last{{label::backward, label::backward},
                                                              {label::others, label::others},
                                                              {meta::Meter::scratch, "kernels' scratch memory"},
                                                              {meta::Meter::host_lists, "lists beside tensors"}};
  std::vector<std::pair<std::string, int64_t>> all;
  std::set<std::string> known;
  const auto add = [&](const std::vector<std::pair<std::string, std::string>>& titles) {
    for (const auto& [name, title] : titles)
      for (const meta::Meter::Part& part : peak.parts)
        if (part.label == name) all.emplace_back(title, part.bytes);
  };
  for (const auto& titles : {first, last})
    for (const auto& [name, title] : titles) known.insert(name);
  add(first);
  for (const meta::Meter::Part& part : peak.parts)
    if (!known.contains(part.label)) all.emplace_back("activations, " + part.label, part.bytes);
  add(last);
  all.emplace_back("all", peak.bytes);
  return all;
}

// In which part of a step the peak is.
std::string place_of(const std::string& label, bool inference) {
  if (inference || label == step_memory_label::backward) return inference ? "" : ", on the way back";
  if (label == step_memory_label::others || label == meta::Meter::scratch) return "";
  return ", on the way through " + label;
}

int show_memory(const MemoryOptions& o) {
  const Question q = question(o);
  constexpr double most_pairs = 2147483647;  // of queries and keys, which attention counts in 32 bits
  if (static_cast<double>(o.batch) * static_cast<double>(o.length) * static_cast<double>(o.length) > most_pairs)
    fail<UsageError>("--batch {} of --length {}: attention takes at most {:.0f} pairs of a query and a key", o.batch,
                     o.length, most_pairs);
  const TokenizedDataset batch = sentences(o, q);
  const bool on_gpu = o.device == DeviceChoice::cuda;
  const Device device = on_gpu ? Device::meta_cuda : Device::cpu;
  const Context::Settings settings{.threads = o.threads > 0 ? static_cast<int>(o.threads) : default_num_threads(),
                                   .products = products_for(o.precision, device)};
  const meta::Meter::Peak peak = step_memory(q.config, batch,
                                             {.dtype = dtype_for(o.precision),
                                              .on_gpu = on_gpu,
                                              .inference = o.infer,
                                              .gradient_accumulation_steps = o.accumulation},
                                             settings);
  if (o.json) {
    ordered_json document{{"command", "memory"},
                          {"model", q.name},
                          {"device", on_gpu ? "cuda" : "cpu"},
                          {"precision", name_of(o.precision)},
                          {"threads", settings.threads},
                          {"sparsity", q.config.sparsity.describe()},
                          {"inference", o.infer},
                          {"gradient_accumulation_steps", o.accumulation},
                          {"sentences", batch.size()},
                          {"tokens", batch.total_tokens()},
                          {"peak_bytes", peak.bytes},
                          {"reached_by", peak.reached_by},
                          {"parts", ordered_json::array()}};
    for (const meta::Meter::Part& part : peak.parts)
      document["parts"].push_back({{"label", part.label}, {"bytes", part.bytes}});
    print_json(document);
    return 0;
  }
  fmt::print("{} of {}, sparsity {}\n", o.infer ? "inference" : "a training step", printable(q.name),
             q.config.sparsity.describe());
  fmt::print("{} sentence{}, {} token{}; {}, {}{}\n", batch.size(), batch.size() == 1 ? "" : "s", batch.total_tokens(),
             batch.total_tokens() == 1 ? "" : "s", name_of(o.precision),
             on_gpu ? "on a GPU" : fmt::format("on {} thread{}", settings.threads, settings.threads == 1 ? "" : "s"),
             o.accumulation > 1 ? fmt::format("; gradients of {} batches", o.accumulation) : "");
  TextTable table({{"at the peak" + place_of(peak.reached_by, o.infer), TextTable::Kind::text}, {"MB"}, {"%"}});
  for (const auto& [title, bytes] : rows(peak))
    table.row({title, fmt::format("{:.2f}", 1e-6 * static_cast<double>(bytes)),
               fmt::format("{:.1f}", 100 * static_cast<double>(bytes) / static_cast<double>(peak.bytes))});
  fmt::print("{}", table.text());
  if (!o.infer) fmt::print("peak_tensor_bytes of such a run, while it trains; program and data come on top.\n");
  if (on_gpu)
    fmt::print("Two workspaces of up to {} for products may come on top: cublasLt decides.\n",
               format_bytes(cuda_rules::most_product_workspace));
  return 0;
}

}  // namespace

Command add_memory(CLI::App& program) {
  CLI::App* app = add_command(program, "memory", "How much memory a training step will take, before it is run");
  const auto o = std::make_shared<MemoryOptions>();
  o->app = app;
  add_positional(*app, "TEXT", o->text, "a sentence to train on; or --batch and --length");
  add_model_options(*app, o->model, o->weights);
  add_text(*app, "init", o->init, "a model without weights", "distilbert-base|FILE");
  add_text(*app, "vocab", o->vocab, "vocabulary (vocab.txt or tokenizer.json); default: what lies beside the model",
           "FILE");
  add_integer(*app, "batch,batch-size", o->batch, 1, largest_batch, "sentences of a batch; of TEXT: as often");
  add_integer(*app, "length", o->length, 2, longest_sentence, "tokens of a sentence, [CLS] and [SEP] included");
  add_integer(*app, "max-length", o->max_length, 2, longest_sentence, "tokens of TEXT at most");
  add_integer(*app, "gradient-accumulation-steps", o->accumulation, 1, most_steps, "batches of an optimizer step");
  add_flag(*app, "infer", o->infer, "the forward pass of an evaluation instead of a training step");
  add_precision(*app, *o);
  add_choice<DeviceChoice>(*app, "device", o->device, {{"cpu", DeviceChoice::cpu}, {"cuda", DeviceChoice::cuda}},
                           "cpu|cuda", "whose memory: the CPU's, or that of an NVIDIA GPU, which need not be here");
  add_integer(*app, "threads", o->threads, 0, most_threads, "each needs scratch memory; 0: all cores");
  add_text(*app, "parses", o->parses, "CoNLL-U with TEXT, for --sparse-method syntax", "FILE");
  add_sparse_options(*app, o->sparse);
  add_flag(*app, "json", o->json, "print an object");
  return {app, [o] { return show_memory(*o); }};
}

}  // namespace crisp::inspect
