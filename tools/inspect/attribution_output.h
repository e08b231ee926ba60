// An attribution for people and programs: text, JSON, a page.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "data/wordpiece.h"
#include "tools/inspect/attribution.h"

namespace crisp::inspect {

struct AttributedText {
  std::string text;
  std::vector<TokenSpan> tokens;
  std::vector<std::string> pieces, baseline_pieces = {};  // of the vocabulary; "0" for an embedding of zeros
  std::string objective, attention, model;                // what is shown of them
  bool may_jump = false;                                  // which keys attention keeps follows from the embeddings
  Attribution attribution = {};

  /// Neighbours that begin with the token and go on with "##".
  struct Word {
    size_t first, count;  // tokens
    std::string text;
  };
  /// Those of more than one token.
  std::vector<Word> split_words() const;
  /// The text in its order, with [CLS] and [SEP]: what stands for a token, or between two of them.
  struct Part {
    std::string text;
    int64_t token = -1;  // -1: between
  };
  std::vector<Part> parts() const;
  /// "[CLS] [PAD] x 9 [SEP]"
  std::string baseline_text() const;
  /// Whether 1 % was reached, and what the error is.
  std::string completeness_text() const;
  /// Why more points need not help, where that may be so; else "".
  std::string jump_text() const;
};

/// A part of 1 that a score takes of the largest of its kind, with its sign.
std::vector<double> shares(const std::vector<double>& scores);

std::string attribution_text(const AttributedText& a, bool coloured);
nlohmann::ordered_json attribution_json(const AttributedText& a);
/// Self-contained HTML.
std::string attribution_page(const AttributedText& a);

}  // namespace crisp::inspect
