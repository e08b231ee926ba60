// How a model's directory is read while, perhaps, another process publishes a new model in it
// (weights/publication.h).
#pragma once

#include <string>
#include <vector>

#include "engine/error.h"

namespace crisp {

/// A publication that is complete, but whose files are not all at the top of their directory yet.
constexpr const char* publication_name = ".crisp-publication";

/// The file that marks a directory as a training run's (train/durable/output_directory.h).
constexpr const char* run_marker_name = "crisp_run.json";

/// Where the files of the model in `directory` are: DIRECTORY/.crisp-publication while it is there, else `directory`.
std::string published_directory(const std::string& directory);

/// Which files make up the model now: two of them are equal when nothing was published between.
class PublishedState {
 public:
  /// `file_or_directory`: of a model; what is not there is a state, too.
  explicit PublishedState(const std::string& file_or_directory);
  bool operator==(const PublishedState&) const = default;

 private:
  std::vector<std::string> identities_;
};

/// read(), which reads files of the model and returns a value, again if something was published meanwhile, so that all
/// it has read is of one publication.
template <class Read>
auto read_published(const std::string& file_or_directory, Read&& read) {
  for (int left = 100;; --left) {
    if (left == 0) throw Error(file_or_directory + ": changes all the time; try again later");
    const PublishedState before(file_or_directory);
    try {
      auto result = read();
      if (before == PublishedState(file_or_directory)) return result;
    } catch (const Error&) {
      if (before == PublishedState(file_or_directory)) throw;
    }
  }
}

}  // namespace crisp
