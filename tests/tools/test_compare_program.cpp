// tools/compare_pytorch.py with stand-ins for crisp-bench and PyTorch: what it prints, and that a case which this
// machine cannot run costs nothing but itself.
#include "tests/tools/programs.h"

using namespace crisp;
using namespace crisp::test;

namespace {

// A step of 100 ms against one of 400; products of bf16x3 are refused in the words of train/inference/precision.cpp.
class Comparison : public Workshop {
 public:
  Comparison() {
    const std::string result =
        R"({"mean_ms": 100, "sequences_per_s": 80, "tokens_per_s": 1000, "peak_rss_gb": 1, "losses": []})";
    write("crisp-bench",
          "#!/bin/sh\ncase \"$*\" in *bf16x3*)\n"
          "  echo 'crisp-bench: --precision bf16x3 needs a CPU with AMX, which this one lacks; use f32' >&2\n"
          "  exit 2\nesac\necho '" +
              result + "'\n");
    write("peer.py", R"(print('{"mean_ms": 400, "sequences_per_s": 20, "tokens_per_s": 250, "peak_rss_gb": 4}'))");
    std::filesystem::permissions(*this / "crisp-bench", std::filesystem::perms::owner_all);
    std::filesystem::create_directories(*this / "sets/sst2");
    std::filesystem::create_directories(*this / "sets/bert-base-uncased");
    write("sets/sst2/train.tsv", "sentence\tlabel\n");
    write("sets/bert-base-uncased/vocab.txt", "[PAD]\n");
  }
  Outcome compare(const Words& more) const {
    return start(Words{"/usr/bin/env", "python3", CRISP_SOURCE_DIR "/tools/compare_pytorch.py", "--build", ".",
                       "--peer", "peer.py", "--datasets", "sets", "--rounds", "2", "--no-malloc", "--json",
                       "log.json"} +
                 more);
  }
};

}  // namespace

TEST_CASE("compare_pytorch prints ratios, and passes over what the machine lacks") {
  const Comparison at;
  if (at.start({"/usr/bin/env", "python3", "--version"}).exit_code != 0) CRISP_SKIP("there is no python3");
  const Outcome outcome = at.compare({"--cases", "f32,bf16x3,infer"});
  INFO(outcome.err);
  REQUIRE(outcome.exit_code == 0);
  CHECK(outcome.out.find("against P0: sequences/s 4.00 (4.00..4.00)x, tokens/s 4.00 (4.00..4.00)x, peak memory 0.25") !=
        std::string::npos);
  CHECK(outcome.out.find("bf16x3: left out: crisp-bench: --precision bf16x3 needs a CPU with AMX") !=
        std::string::npos);
  std::vector<std::string> cases;
  for (const json& entry : at.read_json("log.json")) cases.push_back(entry.at("case"));
  CHECK(std::count(cases.begin(), cases.end(), "f32") == 6);  // two rounds of crisp, P0 and P1
  CHECK(std::count(cases.begin(), cases.end(), "bf16x3") == 0);
  CHECK(std::count(cases.begin(), cases.end(), "infer") == 4);  // no P0
}

TEST_CASE("compare_pytorch keeps what it has measured when a later case fails") {
  const Comparison at;
  if (at.start({"/usr/bin/env", "python3", "--version"}).exit_code != 0) CRISP_SKIP("there is no python3");
  at.write("peer.py",
           "import sys\nsys.exit('out of memory') if '--infer' in sys.argv else "
           R"(print('{"mean_ms": 400, "sequences_per_s": 20, "tokens_per_s": 250, "peak_rss_gb": 4}'))");
  const Outcome outcome = at.compare({"--cases", "f32,infer"});
  CHECK(outcome.exit_code == 1);
  CHECK(outcome.err.find("out of memory") != std::string::npos);
  CHECK(at.read_json("log.json").size() == 7);  // all of f32, and crisp's part of infer
}
