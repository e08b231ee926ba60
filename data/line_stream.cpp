#include "data/line_stream.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "data/input/file.h"
#include "data/input/packed.h"
#include "data/input/text.h"
#include "data/text_format.h"
#include "engine/fail.h"

namespace crisp {

LineStream::LineStream(int fd, std::string name, size_t longest) : fd_(fd), name_(std::move(name)), longest_(longest) {}

// False at the end.
bool LineStream::read_more() {
  if (ended_) return false;
  constexpr size_t step = size_t{64} << 10;
  if (buffer_.size() - begin_ > longest_)
    fail<BadInput>("{}:{}: the line is longer than {} MiB", name_, lines_ + 1, longest_ >> 20);
  buffer_.erase(0, begin_);
  searched_ -= begin_;
  begin_ = 0;
  const size_t before = buffer_.size();
  buffer_.resize(before + step);
  ssize_t n = 0;
  do n = ::read(fd_, buffer_.data() + before, step);
  while (n < 0 && errno == EINTR);
  const int error = errno;
  buffer_.resize(before + static_cast<size_t>(std::max<ssize_t>(n, 0)));
  if (n < 0) fail<BadInput>("{}: cannot be read: {}", name_, std::strerror(error));
  ended_ = n == 0;
  return !ended_;
}

bool LineStream::more_has_arrived() const {
  struct pollfd stream = {fd_, POLLIN, 0};
  return !ended_ && ::poll(&stream, 1, 0) == 1;
}

std::string LineStream::next(size_t most) {
  std::string chunk;
  for (size_t count = 0; count < most;) {
    const size_t end = buffer_.find('\n', searched_);
    if (end != std::string::npos) {
      chunk.append(buffer_, begin_, end + 1 - begin_);
      begin_ = searched_ = end + 1;
      ++count;
      ++lines_;
      continue;
    }
    searched_ = buffer_.size();
    if (count > 0 && !more_has_arrived()) break;
    if (read_more()) continue;
    if (begin_ < buffer_.size()) {
      chunk.append(buffer_, begin_);
      begin_ = searched_ = buffer_.size();
      ++lines_;
    }
    break;
  }
  return chunk;
}

namespace {

std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\n')) line.remove_suffix(1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

}  // namespace

ExampleStream::ExampleStream(int fd, std::string name, const ReadOptions& options)
    : lines_(fd, std::move(name)), options_(options) {
  options_.allow_empty = true;
}

// Settles the format by the first line, so that no later one is taken for a first one. True for a header.
bool ExampleStream::recognise(std::string_view first_line) {
  begun_ = true;
  options_.continues = true;  // what the lines to come could tell, they do not before this one is answered
  if (options_.format == TextFormat::automatic && first_line.starts_with('{')) options_.format = TextFormat::jsonl;
  if (options_.format == TextFormat::text || options_.format == TextFormat::jsonl) return false;
  const Dataset alone = parse(first_line);
  const std::string_view text = without_line_end(first_line);
  if (alone.examples.size() == 1 && alone.examples.front().text == text && !alone.labelled()) {
    options_.format = TextFormat::text;
    return false;
  }
  const bool is_header = alone.examples.empty();
  header_ = is_header ? std::string(text) + "\n" : "sentence\tlabel\n";  // the one that it lacks
  options_.format = TextFormat::tsv;
  return is_header;
}

bool ExampleStream::has_records_beyond_lines(std::string_view first_line) const {
  // Without a line end it is all that came, perhaps lines that end in CR alone.
  if (!first_line.ends_with('\n') || is_gzip(first_line) || options_.format == TextFormat::csv) return true;
  refuse_foreign_file(first_line, lines_.name());
  const size_t begin = first_line.find_first_not_of(" \t\r\n");
  const bool list = begin != std::string_view::npos && first_line[begin] == '[';
  TextFormat format = options_.format;
  if (format == TextFormat::automatic) format = recognise_format(first_line, lines_.name(), true).format;
  if (format == TextFormat::jsonl) return list;
  // A header in quotes: its writer puts quotes around sentences, too, which may go on to another line then.
  const bool quoted = format == TextFormat::tsv && first_line.find('"') != std::string_view::npos;
  return format == TextFormat::csv || (quoted && parse(first_line).examples.empty());
}

void ExampleStream::read_whole(std::string content) {
  begun_ = true;
  for (std::string more = lines_.next(size_t{1} << 16); !more.empty(); more = lines_.next(size_t{1} << 16)) {
    content += more;
    if (uint64_t{content.size()} > input_limit::dataset)
      fail<BadInput>("{}: is larger than the {} MiB that it may have", lines_.name(), input_limit::dataset >> 20);
  }
  whole_ = parse_dataset(content, lines_.name(), options_);
}

Dataset ExampleStream::next_of_whole(size_t most) {
  const size_t count = std::min(most, whole_->examples.size() - handed_out_);
  Dataset part;
  part.path = whole_->path;
  part.num_labels = whole_->num_labels;
  if (handed_out_ == 0) part.notes = std::move(whole_->notes);
  const auto begin = whole_->examples.begin() + static_cast<std::ptrdiff_t>(handed_out_);
  part.examples.assign(std::make_move_iterator(begin),
                       std::make_move_iterator(begin + static_cast<std::ptrdiff_t>(count)));
  handed_out_ += count;
  return part;
}

Dataset ExampleStream::parse(std::string_view lines) const {
  return parse_dataset(header_ + std::string(lines), lines_.name(), options_);
}

Dataset ExampleStream::parse_line(std::string_view line, size_t number) const try {
  return parse(line);
} catch (const BadInput& error) {
  // The parser has counted this line alone, or the header, too.
  const std::string message = error.what(), place = lines_.name() + (header_.empty() ? ":1" : ":2");
  if (!message.starts_with(place)) throw;
  throw BadInput(fmt::format("{}:{}{}", lines_.name(), number, message.substr(place.size())));
}

void ExampleStream::check_labels(const Dataset& examples, size_t number) {
  if (examples.examples.empty()) return;
  if (labelled_.value_or(examples.labelled()) != examples.labelled())
    fail<BadInput>("{}:{}: {} a label, unlike the lines before it", lines_.name(), number,
                   *labelled_ ? "lacks" : "has");
  labelled_ = examples.labelled();
}

// Once, where the same lines may be read otherwise when they are a file.
void ExampleStream::note_quotes(Dataset& examples) {
  if (options_.format != TextFormat::tsv || quotes_noted_) return;
  for (const Example& example : examples.examples) quotes_noted_ |= example.text.starts_with('"');
  if (quotes_noted_)
    examples.notes.push_back(
        fmt::format("{}: double quotes are taken as a part of the text; if they are not, give the file itself, whose "
                    "lines all together tell",
                    lines_.name()));
}

// Whether an answer comes before a complaint must not depend on how many lines came at a time.
Dataset ExampleStream::parse_until_mistake(std::string_view lines, size_t number) {
  try {
    Dataset all = parse(lines);
    check_labels(all, number);
    return all;
  } catch (const BadInput&) {  // in which line?
  }
  Dataset good;
  while (!lines.empty()) {
    const size_t written = std::min(lines.find_first_not_of("\r\n"), lines.size() - 1);  // blank lines go with the next
    const size_t end = options_.format == TextFormat::text ? lines.find('\n') : lines.find('\n', written);
    try {
      Dataset one = parse_line(lines.substr(0, end + 1), number);
      check_labels(one, number);
      std::move(one.examples.begin(), one.examples.end(), std::back_inserter(good.examples));
      good.num_labels = one.num_labels;
    } catch (const BadInput& error) {
      if (good.examples.empty()) throw;
      mistake_ = error.what();
      return good;
    }
    lines.remove_prefix(end + 1);
    ++number;
  }
  return good;
}

// Takes the blank lines at the end of `lines` away, and puts those that were taken before in front of what follows
// them; how many those are. At the end of a table or of JSON lines they do not count.
size_t ExampleStream::hold_blank_lines(std::string& lines) {
  const auto count = [&](size_t from) {
    return static_cast<size_t>(std::count(lines.begin() + static_cast<ptrdiff_t>(from), lines.end(), '\n'));
  };
  const size_t last = lines.find_last_not_of("\r\n");
  if (last == std::string::npos) {
    blank_lines_ += count(0);
    lines.clear();
    return 0;
  }
  const size_t end = lines.find('\n', last) + 1, before = std::exchange(blank_lines_, count(end));
  lines.resize(end);
  lines.insert(0, before, '\n');
  return before;
}

Dataset ExampleStream::next(size_t most) {
  if (!mistake_.empty()) throw BadInput(mistake_);
  for (;;) {
    if (whole_) return next_of_whole(most);
    std::string lines = lines_.next(begun_ ? most : 1);
    if (lines.empty()) return {};
    if (!begun_ && has_records_beyond_lines(lines)) {
      read_whole(std::move(lines));
      continue;
    }
    if (!lines.ends_with('\n')) lines += '\n';
    size_t number = lines_.lines() + 1 - static_cast<size_t>(std::count(lines.begin(), lines.end(), '\n'));
    if (!begun_) {
      lines.erase(0, lines.size() - without_byte_order_mark(lines).size());
      if (recognise(lines)) continue;
    }
    if (options_.format != TextFormat::text) number -= hold_blank_lines(lines);
    if (lines.empty()) continue;
    Dataset examples = parse_until_mistake(lines, number);
    note_quotes(examples);
    return examples;
  }
}

}  // namespace crisp
