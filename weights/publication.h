// A model, its configuration, its vocabulary and its results become visible as one, as plain files at the top of a
// directory.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace crisp {

/// A set of files takes the place of the one that is in a directory:
///   1. they are written to a directory of their own and flushed;
///   2. that directory is renamed DIRECTORY/.crisp-publication: from now on Crisp reads the model there
///      (weights/published.h), and whatever happens, the next run in DIRECTORY goes on from here;
///   3. the old model.safetensors is removed, the other files take their names at the top, model.safetensors last: a
///      program that knows nothing of this finds the old files, or no weights for an instant, or the new files;
///   4. .crisp-publication goes.
/// This does steps 1 and 2. `staging`: a directory on the same file system that may be made and deleted; write(staging)
/// writes the files there and need not flush them. Throws Error, or what `write` throws; then nothing has changed for
/// any reader, unless is_announced(directory).
void announce_publication(const std::string& directory, const std::string& staging,
                          const std::function<void(const std::string& directory)>& write);

bool is_announced(const std::string& directory);

/// Step 3, of a publication that was announced; it may have been begun before. Of `names` (without the directory),
/// those that the publication lacks are removed: they belonged to the former one. Throws Error.
void place_publication(const std::string& directory, const std::vector<std::string>& names);
/// Step 4, where there is something to do. Throws Error.
void forget_publication(const std::string& directory);

}  // namespace crisp
