#include "train/page/html.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <iterator>
#include <limits>

#include "data/input/text.h"
#include "train/page/style.h"

namespace crisp::page {
namespace {

constexpr std::string_view dash = "–", minus = "−", thin = "\u00A0";

// "−0.00" is no number for people.
std::string number(double value, int decimals, std::string_view plus) {
  if (!std::isfinite(value)) return std::string(dash);
  const double magnitude = std::abs(value);
  const std::string text = magnitude < 1e8 ? fmt::format("{:.{}f}", magnitude, decimals) : with_exponent(magnitude, 2);
  if (text.find_first_not_of("0.") == std::string::npos) return text;
  return fmt::format("{}{}", value < 0 ? minus : plus, text);
}

}  // namespace

std::string escape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Decoded c = decode_utf8(text, i);
    const bool control = (c.code < ' ' && c.code != '\n' && c.code != '\t') || c.code == 0x7F;  // or no UTF-8
    if (control || c.code == 0xFFFE || c.code == 0xFFFF) {  // the last two are not allowed in XML either
      out += "\uFFFD";
    } else if (const size_t at = std::string_view("&<>\"'").find(text[i]); at != std::string_view::npos) {
      out += std::array{"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"}[at];
    } else {
      out += text.substr(i, c.length);
    }
    i += c.length;
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

std::string fixed(double value, int decimals) { return number(value, decimals, ""); }

std::string with_sign(double value, int decimals) { return number(value, decimals, "+"); }

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
  if (!known(interval)) return std::string(dash);
  return with_sign(scale * interval.low, decimals) + std::string(thin) + "to" + std::string(thin) +
         with_sign(scale * interval.high, decimals);
}

bool known(const Interval95& i) { return std::isfinite(i.low) && std::isfinite(i.high); }

Interval95 within(const Interval95& i, double low, double high) {
  return {std::clamp(i.low, low, high), std::clamp(i.high, low, high)};
}

Interval95 range_of(const std::vector<double>& values) {
  Interval95 range{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (const double v : values)
    if (std::isfinite(v)) range = {std::min(range.low, v), std::max(range.high, v)};
  return range;
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

std::string paragraphs(const std::vector<std::string>& list) {
  std::string html;
  for (const std::string& one : list)
    if (!one.empty()) html += paragraph(one);
  return html;
}

std::string fine_print(const std::string& html) { return paragraph("<span class=\"small\">" + html + "</span>"); }

std::string figure(const std::string& chart, const std::string& caption) {
  return "<figure>" + chart + (caption.empty() ? "" : "<figcaption>" + caption + "</figcaption>") + "</figure>\n";
}

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

std::string Document::html() const {
  const std::string heading = escape(title);
  std::string text =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>" +
      heading + "</title>\n<style>" + style_sheet + style + "</style>\n</head>\n<body>\n<header>\n<h1>" + heading +
      "</h1>\n";
  if (!lead.empty()) text += "<p class=\"lead\">" + lead + "</p>\n";
  text += "</header>\n<main>\n" + body + "</main>\n";
  if (!footer.empty()) text += "<footer><p>" + footer + "</p></footer>\n";
  // In XML a script's text is escaped, in HTML it is not: a CDATA section within comments is right in both.
  if (!script.empty()) text += "<script>//<![CDATA[\n" + script + "\n//]]></script>\n";
  return text + "</body>\n</html>\n";
}

}  // namespace crisp::page
