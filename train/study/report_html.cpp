#include "train/study/report_html.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace crisp::report {
namespace {

constexpr std::string_view dash = "–", minus = "−", thin = "\u00A0";

// Length of the UTF-8 sequence at `i`; 0 where there is none (RFC 3629: no overlong forms, no surrogates).
size_t sequence_length(std::string_view text, size_t i) {
  const auto byte = [&](size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U; };
  const unsigned first = byte(i);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return 0;
  for (size_t k = 1; k < length; ++k)
    if ((byte(i + k) & 0xC0U) != 0x80) return 0;
  const unsigned second = byte(i + 1);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F)) return 0;
  if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return 0;
  return length;
}

std::string digits(double magnitude, int decimals) {
  return magnitude < 1e8 ? fmt::format("{:.{}f}", magnitude, decimals) : with_exponent(magnitude, 2);
}
// "−0.00" is no number for people.
bool is_zero(const std::string& text) { return text.find_first_not_of("0.") == std::string::npos; }

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = sequence_length(text, i);
    const char c = text[i];
    // U+FFFE and U+FFFF are not allowed in XML either.
    const std::string_view sequence = text.substr(i, length);
    if (length == 0 || sequence == "\xEF\xBF\xBE" || sequence == "\xEF\xBF\xBF") {
      out += "\uFFFD";
    } else if (length == 1 && ((c >= 0 && c < ' ' && c != '\n' && c != '\t') || c == 0x7F)) {
      out += "\uFFFD";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else {
      out += sequence;
    }
    i += length == 0 ? 1 : length;
  }
  return out;
}

std::string with_exponent(double magnitude, int decimals) {
  if (magnitude == 0) return "0";
  std::string text = fmt::format("{:.{}e}", magnitude, decimals);
  const size_t e = text.find('e');
  std::string mantissa = text.substr(0, e);
  if (decimals > 0) mantissa.erase(mantissa.find_last_not_of('0') + 1);
  if (mantissa.back() == '.') mantissa.pop_back();
  return fmt::format("{}e{}", mantissa, std::stoi(text.substr(e + 1)));
}

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return std::string(dash);
  const std::string text = digits(std::abs(value), decimals);
  return value < 0 && !is_zero(text) ? fmt::format("{}{}", minus, text) : text;
}

std::string with_sign(double value, int decimals) {
  if (!std::isfinite(value)) return std::string(dash);
  const std::string text = digits(std::abs(value), decimals);
  if (is_zero(text)) return text;
  return fmt::format("{}{}", value < 0 ? minus : "+", text);
}

std::string percent(double fraction, int decimals) {
  if (!std::isfinite(fraction)) return std::string(dash);
  return fixed(100 * fraction, decimals) + std::string(thin) + "%";
}

std::string points(double fraction) { return with_sign(100 * fraction, 2); }

std::string grouped(int64_t count) {
  const std::string all = fmt::format("{}", count < 0 ? -count : count);
  std::string text(count < 0 ? minus : "");
  for (size_t i = 0; i < all.size(); ++i) {
    if (i > 0 && (all.size() - i) % 3 == 0) text += ',';
    text += all[i];
  }
  return text;
}

std::string p_value(double p) {
  if (!std::isfinite(p)) return std::string(dash);
  if (p < 0.001) return "&lt;" + std::string(thin) + "0.001";
  return fixed(p, p < 0.1 ? 3 : 2);
}

std::string p_equals(double p) { return (p < 0.001 ? "p\u00A0" : "p\u00A0=\u00A0") + p_value(p); }

std::string keep_percent_signs(std::string html) {
  for (size_t at = html.find(" %"); at != std::string::npos; at = html.find(" %", at + 1))
    if (at > 0 && html[at - 1] >= '0' && html[at - 1] <= '9') html.replace(at, 1, thin);
  return html;
}

std::string interval(const Interval95& interval, double scale, int decimals) {
  if (!std::isfinite(interval.low) || !std::isfinite(interval.high)) return std::string(dash);
  return with_sign(scale * interval.low, decimals) + std::string(thin) + "to" + std::string(thin) +
         with_sign(scale * interval.high, decimals);
}

Interval95 within(const Interval95& i, double low, double high) {
  return {std::clamp(i.low, low, high), std::clamp(i.high, low, high)};
}

std::string difference_interval(const Interval95& i) { return interval(within(i, -1, 1), 100, 2); }

std::string counted(int64_t n, std::string_view singular, std::string_view plural) {
  return grouped(n) + std::string(thin) + std::string(n == 1 ? singular : plural);
}

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (size_t i = 0; i < words.size(); ++i) {
    if (i > 0) text += i + 1 == words.size() ? " and " : ", ";
    text += words[i];
  }
  return text;
}

std::string Table::html() const {
  // The caption stays in sight when the table is scrolled sideways.
  std::string html = caption_.empty() ? "" : "<p class=\"caption\">" + caption_ + "</p>\n";
  html += "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"" +
          (caption_.empty() ? std::string("Table") : caption_) + "\"><table>";
  html += "\n<thead><tr>";
  for (const std::string& cell : header_) html += "<th scope=\"col\">" + cell + "</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (const Row& row : rows_) {
    html += row.highlighted ? "<tr class=\"base\">" : "<tr>";
    for (size_t i = 0; i < row.cells.size(); ++i)
      html += i == 0 ? "<th scope=\"row\">" + row.cells[i] + "</th>" : "<td>" + row.cells[i] + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string paragraph(const std::string& html) { return "<p>" + html + "</p>\n"; }

std::string bullets(const std::vector<std::string>& items) {
  if (items.empty()) return "";
  std::string html = "<ul>\n";
  for (const std::string& item : items) html += "<li>" + item + "</li>\n";
  return html + "</ul>\n";
}

std::string details(const std::string& summary, const std::string& html) {
  return "<details><summary>" + summary + "</summary>\n" + html + "</details>\n";
}

std::string section(const std::string& id, const std::string& title, const std::string& html) {
  return "<section id=\"" + id + "\">\n<h2>" + title + "</h2>\n" + html + "</section>\n";
}

}  // namespace crisp::report
