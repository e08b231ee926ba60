// What a file of sentences is, told by how it begins.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace crisp {

/// automatic: told by its beginning, as recognise_format does.
enum class TextFormat : uint8_t { automatic, text, tsv, csv, jsonl };

struct RecognisedFormat {
  TextFormat format = TextFormat::text;
  char delimiter = '\t';  // of tsv and csv
};

/// The first line tells:
///  - `{`, or a list of objects, `[{`: JSON;
///  - names between tabs, commas or semicolons (parse_header in data/records.h), among them a sentence's: a table. The
///    single word `sentence` or `text` is one, too, but where plain text is allowed;
///  - two columns between tabs: `text<TAB>label` without a header;
///  - else plain text, where it is allowed.
/// Throws BadInput for what is nothing of these, and for plain text that looks like a table with unknown columns.
RecognisedFormat recognise_format(std::string_view content, const std::string& name, bool allow_plain_text);

/// The delimiter of a file that is said to be CSV: the comma, or the semicolon where that makes a header of the first
/// line. Throws BadInput where neither does.
char csv_delimiter(std::string_view content, const std::string& name);

}  // namespace crisp
