// Which sites of the random streams the model uses: one for every place that draws.
#pragma once

#include <cstdint>

namespace crisp {

// Of the dropout stream.
constexpr uint32_t embedding_site = 0;
constexpr uint32_t attention_site(int64_t layer) { return static_cast<uint32_t>(1 + 2 * layer); }
constexpr uint32_t feed_forward_site(int64_t layer) { return static_cast<uint32_t>(2 + 2 * layer); }
constexpr uint32_t classifier_site = 1u << 20;

// Of the masks stream. Random connections use the head for the step: they are the same in all steps.
constexpr uint32_t random_connections_site(int64_t layer) { return static_cast<uint32_t>(3 * layer); }
constexpr uint32_t attention_drop_site(int64_t layer) { return static_cast<uint32_t>(3 * layer + 1); }
constexpr uint32_t key_dropout_site(int64_t layer) { return static_cast<uint32_t>(3 * layer + 2); }

}  // namespace crisp
