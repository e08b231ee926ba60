#include "tools/lessons/grader/folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "data/input/text.h"
#include "engine/fail.h"
#include "tools/lessons/grader/embedded.h"

namespace crisp::lessons {
namespace {

namespace fs = std::filesystem;

// False where there is something of that name.
bool write_new(const std::string& path, std::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0 && errno == EEXIST) return false;
  if (fd < 0) fail("{}: cannot be made: {}", quote(path), std::strerror(errno));
  const ssize_t written = ::write(fd, text.data(), text.size());
  const int error = errno;
  const bool complete = ::close(fd) == 0 && written == static_cast<ssize_t>(text.size());
  if (complete) return true;
  ::unlink(path.c_str());
  fail("{}: cannot be written: {}", quote(path), written < 0 ? std::strerror(error) : "the disk is full");
}

}  // namespace

std::string find_directory() {
  for (const char* directory : {".", default_directory})
    for (const EmbeddedFile& file : student_files()) {
      std::error_code ignored;
      if (fs::exists(fs::path(directory) / file.name, ignored)) return directory;
    }
  return "";
}

std::string existing_directory(const std::string& given, const std::string& program) {
  const std::string directory = given.empty() ? find_directory() : given;
  if (directory.empty())
    fail<UsageError>("there are no exercises here; `{} start` makes {}/", program, default_directory);
  std::error_code ignored;
  if (!fs::is_directory(directory, ignored)) fail<UsageError>("{}: there is no such directory", quote(directory));
  return directory;
}

Started start(const std::string& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) fail("{}: cannot be made: {}", quote(directory), error.message());
  Started started;
  for (const EmbeddedFile& file : student_files()) {
    const std::string name(file.name);
    (write_new(directory + "/" + name, file.text) ? started.made : started.kept).push_back(name);
  }
  return started;
}

}  // namespace crisp::lessons
