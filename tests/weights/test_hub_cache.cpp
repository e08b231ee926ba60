#include "weights/hub_cache.h"

#include <cstdlib>
#include <filesystem>
#include <optional>

#include "tests/support/catch.h"
#include "tests/weights/support.h"
#include "weights/locate.h"

namespace crisp {
namespace {

using test::bad_input;
using test::TempDir;

// Sets a variable, or with nullptr unsets it, while it lives.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~Environment() { set(before_ ? before_->c_str() : nullptr); }

 private:
  void set(const char* value) { value ? ::setenv(name_, value, 1) : ::unsetenv(name_); }
  const char* name_;
  std::optional<std::string> before_;
};

TEST_CASE("names of models on huggingface.co") {
  for (const char* name : {"distilbert-base-uncased", "org/name", "microsoft/MiniLM-L12-H384-uncased", "a/b_c.d"})
    CHECK(may_be_hub_name(name));
  for (const char* name : {"", "/", "a/", "/a", "a/b/c", "./a", "../a", "~/a", "-a", "a b", "x.safetensors", "a\n"})
    CHECK_FALSE(may_be_hub_name(name));
}

TEST_CASE("the cache is where Hugging Face's programs have it") {
  const Environment a("HF_HUB_CACHE", nullptr), b("HUGGINGFACE_HUB_CACHE", nullptr), c("HF_HOME", nullptr),
      d("XDG_CACHE_HOME", nullptr), e("HOME", "/home/u");
  CHECK(hub_cache_directory() == "/home/u/.cache/huggingface/hub");
  const Environment xdg("XDG_CACHE_HOME", "/cache");
  CHECK(hub_cache_directory() == "/cache/huggingface/hub");
  const Environment home("HF_HOME", "/hf");
  CHECK(hub_cache_directory() == "/hf/hub");
  const Environment hub("HF_HUB_CACHE", "/hub");
  CHECK(hub_cache_directory() == "/hub");
}

TEST_CASE("a model's name is looked up in the cache, and never fetched") {
  namespace fs = std::filesystem;
  const TempDir cache;
  const Environment hub("HF_HUB_CACHE", cache.path().c_str());
  const auto locate = [](const std::string& name) { return [name] { (void)locate_weights(name); }; };
  CHECK(bad_input(locate("org/tiny")) ==
        "org/tiny: no such file or directory, and no model of this name in the cache " + cache.path() +
            "\nIf it is one of huggingface.co, 'hf download org/tiny' puts it there");
  CHECK_THAT(bad_input(locate("distilbert-base-uncased")),
             Catch::EndsWith("'weights/fetch DIR' is the way without Python"));
  CHECK(bad_input(locate("./tiny")) == "./tiny: no such file or directory");

  const std::string model = cache / "models--org--tiny", old = model + "/snapshots/0123",
                    now = model + "/snapshots/4567";
  fs::create_directories(old);
  fs::create_directories(model + "/blobs");
  fs::create_directories(model + "/refs");
  test::write_file(model + "/blobs/abc", "weights");
  fs::create_symlink("../../blobs/abc", old + "/model.safetensors");
  CHECK(locate_weights("org/tiny") == old + "/model.safetensors");  // the only one
  fs::create_directories(now);
  CHECK(bad_input(locate("org/tiny")) ==
        model + "/snapshots: has 2 snapshots and no refs/main; give the directory of one of them");
  test::write_file(model + "/refs/main", "4567");
  CHECK(bad_input(locate("org/tiny")) == now + ": has no model.safetensors");
  test::write_file(now + "/model.safetensors", "w");
  CHECK(locate_weights("org/tiny") == now + "/model.safetensors");
  for (const char* hash : {"89ab", "../../..", ""}) {
    test::write_file(model + "/refs/main", hash);
    CHECK_THAT(bad_input(locate("org/tiny")), Catch::Contains("download the model again"));
  }
}

}  // namespace
}  // namespace crisp
