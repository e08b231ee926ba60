// The frame around every main().
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdio>
#include <new>
#include <system_error>

#include "engine/error.h"
#include "tools/arguments.h"
#include "tools/hf_options.h"
#include "tools/options.h"
#include "tools/streams.h"
#include "train/durable/console.h"
#include "train/durable/interrupt.h"

namespace crisp {
namespace {

// Ends a program with a message, which spells options as the user has.
struct Complaint {
  const std::string& program;
  const Spellings& spellings;

  int operator()(const std::string& message, int exit_code) const {
    std::fflush(stdout);
    say("{}: {}", program, in_users_words(message, spellings));
    return exit_code;
  }
};

int run(CLI::App& app, int argc, const char* const* argv, const std::function<int()>& body) {
  const std::string name = app.get_name();
  Spellings spellings;
  const Complaint complain{name, spellings};
  app.set_version_flag("--version", name + " " CRISP_VERSION, "Print the version");
  try {
    try {
      const std::vector<Argument> arguments = read_arguments(app, {argv + 1, argv + argc});
      spellings = spellings_of(app, arguments);
      const OwnArguments own = translate_hf_options(app, arguments);
      std::vector<std::string> words = to_words(own.arguments);
      std::reverse(words.begin(), words.end());  // CLI11 takes them from the end
      app.parse(words);
      if (!own.note.empty()) say("note: {}", own.note);
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
      const CLI::App& about = addressed(app);
      const std::string command = &about == &app ? name : name + " " + about.get_name();
      return complain(fmt::format("{}\nRun {} --help for the options.", explain_parse_error(app, error), command), 2);
    }
    return body();
  } catch (const Interrupted& end) {
    return exit_code_of(end.signal());
  } catch (const UsageError& error) {
    return complain(error.what(), 2);
  } catch (const BadInput& error) {
    return complain(error.what(), 3);
  } catch (const Diverged& error) {
    return complain(error.what(), 4);
  } catch (const std::bad_alloc&) {
    return complain("out of memory; a smaller --batch-size or --max-length needs less", 1);
  } catch (const std::system_error& error) {  // fmt::print's, when a result cannot be written
    if (std::ferror(stdout) != 0) return fail_output(name, error.code().value());
    return complain(error.what(), 1);
  } catch (const std::exception& error) {
    return complain(error.what(), 1);
  }
}

}  // namespace

int run_program(CLI::App& app, int argc, const char* const* argv, const std::function<int()>& body) {
  prepare_streams();
  return finish_output(app.get_name(), run(app, argc, argv, body));
}

int run_commands(const std::string& description, const std::string& name, int argc, const char* const* argv,
                 const std::vector<std::function<Command(CLI::App&)>>& adders) {
  CLI::App app(description, name);
  set_help_style(app);
  app.require_subcommand(1);
  std::vector<Command> commands;
  for (const auto& add : adders) {
    commands.push_back(add(app));
    set_help_style(*commands.back().app);
  }
  return run_program(app, argc, argv, [&] {
    for (const Command& command : commands)
      if (command.app->parsed()) return command.run();
    return 2;  // never reached: one subcommand is required
  });
}

CLI::App* add_command(CLI::App& program, const std::string& name, const std::string& description,
                      const std::string& footer) {
  CLI::App* app = program.add_subcommand(name, description);
  if (!footer.empty()) app->footer(footer);
  return app;
}

}  // namespace crisp
