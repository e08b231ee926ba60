// CoNLL-U for tests, without writing all of its columns each time.
#pragma once

#include <string>
#include <vector>

/// A line with the given ID, FORM, HEAD and MISC.
inline std::string row(const std::string& id, const std::string& form, const std::string& head,
                       const std::string& misc = "_") {
  return id + "\t" + form + "\t_\t_\t_\t_\t" + head + "\t_\t_\t" + misc + "\n";
}

/// A sentence of words without multiword tokens; heads count from 1, 0 = root.
inline std::string parsed(const std::vector<std::string>& forms, const std::vector<int>& heads) {
  std::string lines;
  for (size_t i = 0; i < forms.size(); ++i) {
    lines += row(std::to_string(i + 1), forms[i], std::to_string(heads[i]));
  }
  return lines + "\n";
}
