// What a program does with files that must not be lost, as functions of a folder, and what has to be found there
// afterwards, whatever went wrong: for crashes at every point and for calls that fail.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace crisp::test {

struct Scenario {
  const char* name;
  /// Makes what is there before; not part of the test.
  std::function<void(const std::string& root)> prepare;
  /// Calls reach(n), n = 1, 2, ..., when the user may rely on what was done so far.
  std::function<void(const std::string& root, const std::function<void(int)>& reach)> act;
  /// What is wrong with what is found, "" if nothing. `reached`: at least that much is there. `killed`: no power was
  /// lost, so programs that know nothing of ours find good files, too. Recovers as the next start would.
  std::function<std::string(const std::string& root, int reached, bool killed)> complaint;
};

const std::vector<Scenario>& durable_scenarios();

}  // namespace crisp::test
