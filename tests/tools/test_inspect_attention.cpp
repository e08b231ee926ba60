// The attention of one text, as crisp-inspect shows it.
#include <zlib.h>

#include <cmath>
#include <numeric>

#include "tests/support/catch.h"
#include "tests/train/markup.h"
#include "tests/train/support.h"
#include "tools/inspect/attention_view.h"
#include "tools/inspect/png.h"

namespace crisp::inspect {
namespace {

using crisp::test::contains;

AttentionView random_view(int64_t layers, int64_t heads, int64_t tokens, double sparsity) {
  AttentionView view{.pieces = {}, .layers = layers, .heads = heads, .all = {}, .text = "a < b", .sparsity = "dense"};
  for (int64_t i = 0; i < tokens; ++i) view.pieces.push_back(i % 2 == 0 ? "<word>" : "##s & \"t\"");
  for (int64_t l = 0; l < layers; ++l)
    for (int64_t h = 0; h < heads; ++h) {
      Head head{l, h, tokens, std::vector<double>(static_cast<size_t>(tokens * tokens))};
      const RandomKey key{.seed = 1, .step = static_cast<uint32_t>(l), .site = static_cast<uint32_t>(h)};
      for (int64_t q = 0; q < tokens; ++q) {
        double sum = 0;
        const auto at = [&](int64_t k) -> double& { return head.weights[static_cast<size_t>(q * tokens + k)]; };
        for (int64_t k = 0; k < tokens; ++k) {
          const double u = random_word(key, static_cast<uint64_t>(q * tokens + k)) / 4294967296.0;
          at(k) = u < sparsity ? 0 : u * u * u;
          sum += at(k);
        }
        if (sum == 0) at(q) = sum = 1;
        for (int64_t k = 0; k < tokens; ++k) at(k) /= sum;
      }
      view.all.push_back(std::move(head));
    }
  return view;
}

TEST_CASE("inspect attention: entropy, its part of the most that is possible, and the strongest keys") {
  const Head head{0, 0, 3, {0.5, 0.25, 0.25, 0, 1, 0, 0.5, 0, 0.5}};
  CHECK(head.kept() == 6);
  CHECK(head.kept(1) == 1);
  const double entropy = (0.5 * std::log(2) + 0.5 * std::log(4) + 0 + std::log(2)) / 3;
  CHECK(head.entropy() == Approx(entropy).epsilon(1e-14));
  CHECK(head.normalised_entropy() == Approx(entropy * 3 / (std::log(3) + std::log(2))).epsilon(1e-14));
  CHECK(head.strongest(0) == std::vector<int64_t>{0, 1, 2});
  CHECK(head.strongest(2) == std::vector<int64_t>{0, 2});
  CHECK(std::isnan(Head{0, 0, 2, {1, 0, 0, 1}}.normalised_entropy()));
}

TEST_CASE("inspect attention: a head as text is a matrix where it fits, else a list") {
  const AttentionView view = random_view(1, 1, 5, 0.4);
  const std::string matrix = head_text(view, view.head(0, 0), 80);
  CHECK(contains(matrix, "  0  1  2  3  4\n"));
  CHECK(contains(matrix, "  0 <word>"));
  CHECK(contains(matrix, "  ."));
  CHECK(contains(head_text(view, view.head(0, 0), 25), "keeps"));
}

TEST_CASE("inspect attention: base64 as RFC 4648 has it") {
  const auto encoded = [](const std::string& text) {
    return base64(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  };
  CHECK(encoded("") == "");
  CHECK(encoded("f") == "Zg==");
  CHECK(encoded("fo") == "Zm8=");
  CHECK(encoded("foo") == "Zm9v");
  CHECK(encoded("foob") == "Zm9vYg==");
  CHECK(encoded("\xFF\xFE\xFD") == "//79");
}

TEST_CASE("inspect attention: a picture is a PNG whose chunks are whole and whose rows are the shades") {
  const std::vector<uint8_t> shades{0, 10, 255, 7, 0, 128};
  const std::string png = shaded_png(3, 2, shades, 0x102030);
  CHECK(png.substr(0, 8) == "\x89PNG\r\n\x1a\n");
  const auto number = [&](size_t at) {
    uint32_t n = 0;
    for (size_t i = 0; i < 4; ++i) n = n << 8 | static_cast<unsigned char>(png[at + i]);
    return n;
  };
  std::string types, pixels;
  for (size_t at = 8; at < png.size();) {
    const uint32_t size = number(at);
    const std::string content = png.substr(at + 4, size + 4);
    CHECK(number(at + 8 + size) == ::crc32(0, reinterpret_cast<const Bytef*>(content.data()), size + 4));
    types += content.substr(0, 4) + " ";
    if (content.starts_with("IHDR")) CHECK((number(at + 8) == 3 && number(at + 12) == 2));
    if (content.starts_with("PLTE")) CHECK(content.substr(4, 3) == "\x10\x20\x30");
    if (content.starts_with("IDAT")) {
      pixels.resize(8);
      uLongf length = pixels.size();
      REQUIRE(::uncompress(reinterpret_cast<Bytef*>(pixels.data()), &length,
                           reinterpret_cast<const Bytef*>(content.data()) + 4, size) == Z_OK);
      CHECK(length == 8);
    }
    at += size + 12;
  }
  CHECK(types == "IHDR PLTE tRNS IDAT IEND ");
  CHECK(pixels == std::string("\0\0\x0A\xFF\0\x07\0\x80", 8));
}

TEST_CASE("inspect attention: the page is well-formed, needs nothing from elsewhere, and has every head") {
  const AttentionView view = random_view(2, 3, 7, 0.5);
  const std::string page = attention_page(view, "a model");
  CHECK(test::fault(page) == "");
  for (const char* id : {"head-0-0", "head-1-2", "tokens", "numbers"})
    CHECK(contains(page, std::string("id=\"") + id + "\""));
  CHECK(contains(page, "&lt;word&gt;"));
  for (const char* foreign : {"http:", "https:", "<word>", "src=\"/", "@import"}) CHECK_FALSE(contains(page, foreign));
  const std::string svg = head_svg(view, view.head(1, 2));
  CHECK(svg.starts_with("<svg xmlns="));
  CHECK_FALSE(contains(svg, "<word>"));
}

TEST_CASE("inspect attention: 512 tokens in 72 heads are less than 5 MB, whatever the weights") {
  const AttentionView view = random_view(6, 12, 512, 0);
  const std::string page = attention_page(view, "a model");
  CHECK(page.size() < 5'000'000);
  CHECK(contains(page, "Of each query the 16 strongest keys are here"));
}

}  // namespace
}  // namespace crisp::inspect
