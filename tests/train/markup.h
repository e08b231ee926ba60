// Whether a report is well-formed.
#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

namespace crisp::test {

/// What keeps `html` from being well-formed XML of one element after a doctype; "" where nothing does.
inline std::string fault(const std::string& html) {
  std::vector<std::string> open;
  size_t i = html.find('\n') + 1;  // after the doctype
  const auto here = [&](const std::string& what) { return what + " at: " + html.substr(i, 80); };
  while (i < html.size()) {
    if (html[i] == '&') {
      const size_t end = html.find(';', i);
      const std::string name = html.substr(i + 1, end - i - 1);
      if (name != "amp" && name != "lt" && name != "gt" && name != "quot" && name != "#39") return here("bare &");
      i = end;
    } else if (html[i] == '<') {
      const bool closing = html[i + 1] == '/';
      size_t at = i + 1 + closing;
      std::string name;
      while (std::isalnum(static_cast<unsigned char>(html[at]))) name += html[at++];
      if (name.empty()) return here("no tag");
      std::vector<std::string> attributes;
      while (html[at] != '>' && html[at] != '/') {
        if (html[at] == ' ' || html[at] == '\n') {
          ++at;
          continue;
        }
        const size_t equals = html.find('=', at);
        const size_t end = html.find('"', equals + 2);
        if (equals == std::string::npos || html[equals + 1] != '"' || end == std::string::npos)
          return here("attribute");
        const std::string attribute = html.substr(at, equals - at);
        if (attribute.find_first_of("<>&\" \n") != std::string::npos) return here("attribute's name");
        if (std::find(attributes.begin(), attributes.end(), attribute) != attributes.end()) return here("twice");
        if (html.substr(equals, end - equals).find('<') != std::string::npos) return here("< in a value");
        attributes.push_back(attribute);
        at = end + 1;
      }
      const bool empty = html[at] == '/';
      i = at + empty;
      if (html[i] != '>') return here("no >");
      if (closing && (open.empty() || open.back() != name)) return here("</" + name + "> out of place");
      if (closing) open.pop_back();
      if (!closing && !empty) open.push_back(name);
      if ((name == "style" || name == "script") && !closing && !empty) i = html.find("</" + name + ">", i) - 1;
    } else if (static_cast<unsigned char>(html[i]) < ' ' && html[i] != '\n') {
      return here("control character");
    }
    ++i;
  }
  return open.empty() ? "" : "not closed: " + open.back();
}

}  // namespace crisp::test
