// data/fetch without a network: its arguments, its messages, and what it leaves behind. curl and unzip are played by
// small scripts at the front of the PATH.
#include <sys/wait.h>

#include "tests/data/files.h"
#include "tests/support/catch.h"

namespace fs = std::filesystem;

namespace {

class Fetch {
 public:
  Fetch() {
    // A PATH with the script's everyday commands, but without curl and unzip.
    fs::create_directories(temp.path("bin"));
    for (const char* name :
         {"bash", "env", "cat", "sha256sum", "cut", "mkdir", "mktemp", "rm", "mv", "basename", "cp"}) {
      for (const char* folder : {"/usr/bin/", "/bin/", "/usr/local/bin/"}) {
        if (!fs::exists(std::string(folder) + name)) continue;
        fs::create_symlink(std::string(folder) + name, temp.path("bin/") + name);
        break;
      }
    }
  }

  void command(const std::string& name, const std::string& script) const {
    fs::permissions(temp.write("bin/" + name, "#!/usr/bin/env bash\n" + script), fs::perms::owner_all);
  }

  // An unzip that finds the given files in every archive.
  void unzip_gives(const std::string& train, const std::string& dev) const {
    temp.write("archive/train.tsv", train);
    temp.write("archive/dev.tsv", dev);
    command("unzip", "cp '" + temp.path("archive") + "'/* \"${@: -1}\"\n");
  }

  // Runs the script; fills out and err and returns its exit code.
  int run(const std::string& arguments) {
    const std::string line = "cd '" + temp.path() + "' && PATH='" + temp.path("bin") +
                             "' CRISP_FETCH_URL=https://example.invalid/SST-2.zip '" CRISP_SOURCE_DIR "/data/fetch' " +
                             arguments + " >out 2>err </dev/null";
    const int status = std::system(line.c_str());
    out = read_file(temp.path("out"));
    err = read_file(temp.path("err"));
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  bool complains(const std::string& text) const { return err.find(text) != std::string::npos; }

  // Every failure says what to do by hand.
  bool explains() const {
    return complains("By hand:") && complains("https://example.invalid/SST-2.zip") &&
           complains("--zip SST-2.zip 'sst2'") && complains("copy SST-2/train.tsv");
  }

  TempFolder temp;
  std::string out, err;
};

}  // namespace

TEST_CASE("fetch: help and wrong arguments") {
  Fetch fetch;
  CHECK(fetch.run("--help") == 0);
  CHECK(fetch.out.starts_with("Usage: data/fetch [--zip FILE] [--any-version] FOLDER\n"));
  CHECK(fetch.out.find("https://example.invalid/SST-2.zip") != std::string::npos);
  CHECK(fetch.err.empty());
  const auto usage = [&](const std::string& arguments) {
    CHECK(fetch.run(arguments) == 2);
    return fetch.err;
  };
  const std::string see = " (data/fetch --help shows the usage)\n";
  CHECK(usage("") == "data/fetch: no folder given" + see);
  CHECK(usage("--verbose sst2") == "data/fetch: unknown option --verbose" + see);
  CHECK(usage("a b") == "data/fetch: more than one folder given: 'a' and 'b'" + see);
  CHECK(usage("''") == "data/fetch: the folder's name is empty" + see);
  CHECK(usage("--zip") == "data/fetch: --zip needs a file" + see);
  CHECK(usage("--zip none.zip sst2") == "data/fetch: --zip none.zip: no such file" + see);
  CHECK_FALSE(fs::exists(fetch.temp.path("sst2")));
}

TEST_CASE("fetch: a missing program is named with its package") {
  Fetch fetch;
  CHECK(fetch.run("sst2") == 1);
  CHECK(fetch.complains("unzip is missing (Debian: apt install unzip)"));
  CHECK(fetch.explains());
  fetch.command("unzip", "exit 9\n");
  CHECK(fetch.run("sst2") == 1);
  CHECK(fetch.complains("curl is missing (Debian: apt install curl ca-certificates)"));
  CHECK(fetch.explains());
}

TEST_CASE("fetch: without network, what was downloaded before is kept") {
  Fetch fetch;
  fetch.unzip_gives("", "");
  fetch.command("curl", "exit 6\n");
  fetch.temp.write("sst2/SST-2.zip.part", "half");
  CHECK(fetch.run("sst2") == 1);
  CHECK(fetch.complains("cannot download https://example.invalid/SST-2.zip (curl's exit code 6); is there a network?"));
  CHECK(fetch.explains());
  CHECK(read_file(fetch.temp.path("sst2/SST-2.zip.part")) == "half");
}

TEST_CASE("fetch: a download is resumed, or started again where the server cannot resume") {
  Fetch fetch;
  fetch.unzip_gives("train", "dev");
  // Writes its arguments to a log and the archive to the file after --output; refuses to resume where a file says so.
  fetch.command("curl",
                "echo \"$*\" >>curl.log\n"
                "[[ \" $* \" == *' --continue-at '* && -e no-resume ]] && exit 33\n"
                "while [[ $1 != --output ]]; do shift; done\n"
                "echo archive >>\"$2\"\n");
  fetch.temp.write("sst2/SST-2.zip.part", "half ");
  CHECK(fetch.run("--any-version sst2") == 0);
  const auto log = read_file(fetch.temp.path("curl.log"));
  CHECK(log.find("--continue-at -") != std::string::npos);
  CHECK(log.find('\n') + 1 == log.size());  // one call
  CHECK(read_file(fetch.temp.path("sst2/train.tsv")) == "train");
  CHECK_FALSE(fs::exists(fetch.temp.path("sst2/SST-2.zip.part")));

  fetch.temp.write("no-resume", "");
  fetch.temp.write("again/SST-2.zip.part", "half ");
  CHECK(fetch.run("--any-version again") == 0);
  CHECK(fetch.complains("cannot resume again/SST-2.zip.part; starting again"));
  CHECK(read_file(fetch.temp.path("again/dev.tsv")) == "dev");
}

TEST_CASE("fetch: a damaged archive and another version are refused, leaving nothing behind") {
  Fetch fetch;
  fetch.command("curl", "while [[ $1 != --output ]]; do shift; done; echo archive >\"$2\"\n");
  fetch.command("unzip", "exit 9\n");
  CHECK(fetch.run("sst2") == 1);
  CHECK(fetch.complains("SST-2.zip.part is damaged, or is no SST-2.zip"));
  CHECK(fetch.explains());
  CHECK(fs::is_empty(fetch.temp.path("sst2")));

  fetch.unzip_gives("sentence\tlabel\n", "sentence\tlabel\n");
  const auto zip = fetch.temp.write("mine.zip", "archive");
  CHECK(fetch.run("--zip mine.zip sst2") == 1);
  CHECK(fetch.complains("train.tsv in the zip file is not the version that Crisp is tested with"));
  CHECK(fetch.complains("--any-version accepts it"));
  CHECK(fs::is_empty(fetch.temp.path("sst2")));
  CHECK(fs::exists(zip));
}

TEST_CASE("fetch: a user's files are never overwritten") {
  Fetch fetch;
  fetch.unzip_gives("train", "dev");
  const auto mine = fetch.temp.write("sst2/train.tsv", "mine");
  const auto zip = fetch.temp.write("mine.zip", "archive");
  CHECK(fetch.run("--any-version --zip mine.zip sst2") == 1);
  CHECK(fetch.complains("sst2/train.tsv exists and is another file; move it away, or name another folder"));
  CHECK(read_file(mine) == "mine");
  fetch.temp.write("file", "");
  CHECK(fetch.run("--zip mine.zip file/sst2") == 1);
  CHECK(fetch.complains("cannot create the folder file/sst2"));
}

TEST_CASE("fetch: the real files pass the hashes, and a second call leaves them alone") {
  const std::string real = datasets_dir() + "/sst2";
  if (!fs::exists(real + "/train.tsv")) CRISP_SKIP("no " + real);
  Fetch fetch;
  fetch.unzip_gives(read_file(real + "/train.tsv"), read_file(real + "/dev.tsv"));
  fetch.temp.write("mine.zip", "archive");
  CHECK(fetch.run("--zip mine.zip sst2") == 0);
  CHECK(fetch.out == "data/fetch: sst2 now holds SST-2; use it with crisp-train --data sst2\n");
  CHECK(fs::exists(fetch.temp.path("sst2/dev.tsv")));
  CHECK(fetch.run("sst2") == 0);  // no curl on the PATH: it must not be needed
  CHECK(fetch.out == "data/fetch: sst2 has train.tsv and dev.tsv already, unchanged\n");
}
