#include "weights/atomic_file.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/support/catch.h"
#include "tests/weights/support.h"
#include "weights/safetensors.h"

namespace crisp {
namespace {

using test::error;
using test::read_file;
using test::TempDir;

using Names = std::vector<std::string>;

TEST_CASE("a file appears whole at commit and not before") {
  const TempDir dir;
  test::write_file(dir / "f", "old");
  {
    AtomicFile file(dir / "f");
    file.write("new ");
    file.write("content");
    CHECK(read_file(dir / "f") == "old");
    file.commit();
    CHECK(read_file(dir / "f") == "new content");
    CHECK_THAT(error([&] { file.write("more"); }), Catch::Contains("write after commit"));
    CHECK_THAT(error([&] { file.commit(); }), Catch::Contains("committed twice"));
  }
  CHECK(dir.names() == Names{"f"});
}

TEST_CASE("a write that is given up leaves the old file and nothing else") {
  const TempDir dir;
  test::write_file(dir / "f", "old");
  { AtomicFile(dir / "f").write("half"); }
  CHECK(read_file(dir / "f") == "old");
  CHECK(dir.names() == Names{"f"});
}

TEST_CASE("what cannot be written is an error that names the path") {
  const TempDir dir;
  CHECK_THAT(error([&] { AtomicFile f(dir / "none/f"); }), Catch::Contains("none/f: cannot be created: No such file"));
  CHECK_THAT(error([&] { AtomicFile f(dir.path()); }), Catch::Contains("is not a regular file"));
  CHECK_THAT(error([&] { AtomicFile f("/dev/null"); }), Catch::Contains("/dev/null: cannot be written"));
  CHECK_THAT(error([&] { sync_directory(dir / "none"); }), Catch::Contains("none: cannot be opened"));
  CHECK_THAT(error([&] { write_file_atomically(dir / std::string(300, 'n'), "x"); }),
             Catch::Contains("File name too long"));
  CHECK(dir.names().empty());
}

TEST_CASE("names near the file system's limit, and permissions, survive") {
  const TempDir dir;
  const std::string name(255, 'n');
  write_file_atomically(dir / name, "x");
  CHECK(dir.names() == Names{name});

  test::write_file(dir / "private", "old");
  REQUIRE(::chmod((dir / "private").c_str(), 0640) == 0);
  write_file_atomically(dir / "private", "new");
  struct stat status {};
  REQUIRE(::stat((dir / "private").c_str(), &status) == 0);
  CHECK((status.st_mode & 07777) == 0640);
}

TEST_CASE("a symbolic link is replaced and its target left alone") {
  const TempDir dir;
  test::write_file(dir / "target", "blob");
  std::filesystem::create_symlink("target", dir / "link");
  write_file_atomically(dir / "link", "new");
  CHECK(read_file(dir / "target") == "blob");
  CHECK(read_file(dir / "link") == "new");
}

TEST_CASE("parent directories") {
  CHECK(parent_directory("a/b/c") == "a/b");
  CHECK(parent_directory("c") == ".");
  CHECK(parent_directory("/c") == "/");
}

// Stands for a full disk: no file of this process may grow beyond `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    old_handler_ = ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit { bytes, old_.rlim_max };
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, old_handler_);
  }

 private:
  struct rlimit old_ {};
  void (*old_handler_)(int) = nullptr;
};

TEST_CASE("when the disk is full in the middle, the old safetensors file is untouched and the part is removed") {
  const TempDir dir;
  const std::vector<float> data(100'000, 1.0f);
  const TensorToWrite small{"t", SafeDType::F32, {10}, std::span<const float>(data).first(10)};
  const TensorToWrite large{"t", SafeDType::F32, {100'000}, std::span<const float>(data)};
  const std::string path = dir / "model.safetensors";
  write_safetensors(path, std::span(&small, 1));
  const std::string before = read_file(path);
  std::string message;
  {
    const FileSizeLimit full(100'000);
    message = error([&] { write_safetensors(path, std::span(&large, 1)); });
  }
  CHECK_THAT(message, Catch::Contains(
                          "model.safetensors: cannot be written: File too large; the file that is there is unchanged"));
  CHECK(read_file(path) == before);
  CHECK(dir.names() == Names{"model.safetensors"});
}

}  // namespace
}  // namespace crisp
