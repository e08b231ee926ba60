#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/support/catch.h"
#include "tests/train/support.h"
#include "train/durable/metrics.h"

namespace crisp {
namespace {

using nlohmann::ordered_json;

TEST_CASE("metrics are JSON lines in the order given, and numbers come back as the same double") {
  const test::TempDir dir;
  MetricsLog log(dir / "metrics.jsonl");
  const double values[] = {0.1, 1.0 / 3, 2e-5, 5e-324, 1.7976931348623157e308, 9007199254740993.0, -0.0};
  for (const double value : values) log.write({{"step", 1}, {"loss", value}});
  CHECK(log.bytes() == std::filesystem::file_size(dir / "metrics.jsonl"));

  std::ifstream in(dir / "metrics.jsonl");
  std::string line;
  for (const double value : values) {
    REQUIRE(std::getline(in, line));
    CHECK(line.starts_with("{\"step\":1,\"loss\":"));
    const double read = ordered_json::parse(line)["loss"].get<double>();
    CHECK(read == value);
    CHECK(std::signbit(read) == std::signbit(value));
  }
  CHECK_FALSE(std::getline(in, line));
}

TEST_CASE("numbers that are not finite and text that is not UTF-8 still make valid JSON") {
  const test::TempDir dir;
  MetricsLog log(dir / "metrics.jsonl");
  log.write({{"loss", std::nan("")}, {"grad_norm", std::numeric_limits<double>::infinity()}, {"file", "a\xFF\n"}});
  const std::string text = test::read_file(dir / "metrics.jsonl");
  CHECK(text == "{\"loss\":null,\"grad_norm\":null,\"file\":\"a\xEF\xBF\xBD\\n\"}\n");
}

TEST_CASE("a resumed log is cut back to the checkpoint, so that no step is there twice") {
  const test::TempDir dir;
  const std::string path = dir / "metrics.jsonl";
  uint64_t at_checkpoint = 0;
  {
    MetricsLog log(path);
    log.write({{"step", 1}});
    log.sync();
    at_checkpoint = log.bytes();
    log.write({{"step", 2}});
  }
  MetricsLog log(path, at_checkpoint);
  CHECK(log.lost_bytes() == 0);
  log.write({{"step", 2}});
  CHECK(test::read_file(path) == "{\"step\":1}\n{\"step\":2}\n");

  MetricsLog fresh(path);
  CHECK(test::read_file(path).empty());
}

TEST_CASE("of a log that was cut since the checkpoint the whole lines are kept") {
  const test::TempDir dir;
  const std::string path = dir / "metrics.jsonl";
  const std::string first = "{\"step\":1,\"note\":\"" + std::string(9000, 'x') + "\"}\n";
  test::write_file(path, first + "{\"st");
  {
    MetricsLog log(path, 20'000);
    CHECK(log.lost_bytes() == 20'000 - first.size());
    CHECK(log.bytes() == first.size());
  }
  CHECK(test::read_file(path) == first);

  test::write_file(path, std::string(9000, 'x'));  // no line at all
  CHECK(MetricsLog(path, 9000).bytes() == 0);
}

TEST_CASE("a metrics log says why it cannot be written") {
  const test::TempDir dir;
  CHECK(test::contains(test::message_of<Error>([&] { MetricsLog(dir / "none/metrics.jsonl"); }),
                       "metrics.jsonl: cannot be opened for writing: No such file"));
  CHECK_THROWS_AS(MetricsLog("/dev/full"), Error);
}

TEST_CASE("when the disk is full the log ends with its last whole line") {
  const test::TempDir dir;
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {  // a limit on the size of files stands in for the full disk
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit { 1000, 1000 };
    ::setrlimit(RLIMIT_FSIZE, &limit);
    MetricsLog log(dir / "metrics.jsonl");
    const std::string message = test::message_of<Error>([&] {
      for (int step = 0; step < 1000; ++step) log.write({{"step", step}});
    });
    const bool whole = log.bytes() == std::filesystem::file_size(dir / "metrics.jsonl");
    ::_exit(whole && test::contains(message, "metrics.jsonl: cannot be written: File too large") ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  const std::string text = test::read_file(dir / "metrics.jsonl");
  CHECK(text.size() > 980);
  CHECK(text.ends_with("}\n"));
}

TEST_CASE("a JSON file is written indented") {
  const test::TempDir dir;
  write_json_file(dir / "all_results.json", {{"eval_accuracy", 0.5}, {"eval_loss", std::nan("")}});
  CHECK(test::read_file(dir / "all_results.json") == "{\n  \"eval_accuracy\": 0.5,\n  \"eval_loss\": null\n}\n");
}

}  // namespace
}  // namespace crisp
