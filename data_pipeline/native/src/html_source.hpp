// The characters of a page's source, and the attributes of its tags.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

#include "html_tags.hpp"
#include "text.hpp"

namespace llmill::html {

inline bool is_space(Py_UCS4 c) { return ((*classes)[c] & SPACE) != 0; }
inline bool is_html_space(Py_UCS4 c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f'; }
inline Py_UCS4 lower(Py_UCS4 c) { return c >= 'A' && c <= 'Z' ? c + 32 : c; }
inline bool is_letter(Py_UCS4 c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
inline bool is_digit(Py_UCS4 c) { return c >= '0' && c <= '9'; }
inline bool is_ignorable(Py_UCS4 c) { return c == 0xAD || c == 0x200B || c == 0x2060 || c == 0xFEFF; }

// Attributes that matter; values are ranges of the source.
enum Attribute {
    CLASS,
    ID,
    ROLE,
    ITEMPROP,
    STYLE,
    IS_HIDDEN,
    ARIA_HIDDEN,
    HREF,
    TYPE,
    NAME,
    PROPERTY,
    CONTENT,
    DATETIME,
    ALTTEXT,
    REL,
    START,
    ENCODING,
    ATTRIBUTES
};

inline const std::unordered_map<uint32_t, Attribute>& attribute_table() {
    static const std::unordered_map<uint32_t, Attribute> table{
        {fnv("class"), CLASS}, {fnv("id"), ID}, {fnv("role"), ROLE}, {fnv("itemprop"), ITEMPROP}, {fnv("style"), STYLE},
        {fnv("hidden"), IS_HIDDEN}, {fnv("aria-hidden"), ARIA_HIDDEN}, {fnv("href"), HREF}, {fnv("type"), TYPE},
        {fnv("name"), NAME}, {fnv("property"), PROPERTY}, {fnv("content"), CONTENT}, {fnv("datetime"), DATETIME},
        {fnv("alttext"), ALTTEXT}, {fnv("rel"), REL}, {fnv("start"), START}, {fnv("encoding"), ENCODING}};
    return table;
}

struct Attributes {
    bool has[ATTRIBUTES] = {};
    Range value[ATTRIBUTES];
    bool self_closing = false;
    bool custom = false;  // the element's name holds a hyphen
};

template <class Unit>
class Source {
   public:
    Source(const Unit* source, size_t size) : s(source), n(size) {}

   protected:
    const Unit* s;
    size_t n;

    size_t find(Py_UCS4 c, size_t from) const {
        if constexpr (sizeof(Unit) == 1) {
            const void* hit = from < n ? std::memchr(s + from, static_cast<int>(c), n - from) : nullptr;
            return hit ? static_cast<const Unit*>(hit) - s : n;
        } else {
            return std::find(s + std::min(from, n), s + n, static_cast<Unit>(c)) - s;
        }
    }
    // The next `c` before `to`, else `to`: what is read again and again must not look to the end of the page.
    size_t find_until(Py_UCS4 c, size_t from, size_t to) const {
        while (from < to && s[from] != c) ++from;
        return std::min(from, to);
    }
    bool starts(size_t at, const char* word) const {  // `word` in lower case
        for (; *word; ++word, ++at)
            if (at >= n || lower(s[at]) != static_cast<Py_UCS4>(*word)) return false;
        return true;
    }
    bool contains(Range range, const char* word) const {  // spaces in the source do not count
        const size_t length = std::strlen(word);
        std::string squeezed;
        for (size_t i = range.first; i < range.second; ++i)
            if (!is_html_space(s[i])) squeezed += s[i] < 128 ? static_cast<char>(lower(s[i])) : '?';
        return squeezed.size() >= length && squeezed.find(word) != std::string::npos;
    }

    size_t comment(size_t p) const {
        if (starts(p, ">")) return p + 1;
        if (starts(p, "->")) return p + 2;
        for (size_t dash = find('-', p); dash < n; dash = find('-', dash + 1)) {
            if (starts(dash, "-->")) return dash + 3;
            if (starts(dash, "--!>")) return dash + 4;
        }
        return n;
    }

    bool ends_name(Py_UCS4 c) const { return c == '>' || c == '/' || is_html_space(c); }

    size_t read_attributes(size_t p, Attributes& out) {
        while (p < n) {
            while (p < n && (is_html_space(s[p]) || s[p] == '/')) {
                out.self_closing = s[p] == '/';
                ++p;
            }
            if (p >= n || s[p] == '>') return std::min(n, p + 1);
            out.self_closing = false;
            uint32_t name = FNV;
            const size_t begin = p;
            for (; p < n && !ends_name(s[p]) && (s[p] != '=' || p == begin); ++p) name = fnv(name, lower(s[p]));
            size_t q = p;
            while (q < n && is_html_space(s[q])) ++q;
            Range value{p, p};
            if (q < n && s[q] == '=') {
                p = q + 1;
                while (p < n && is_html_space(s[p])) ++p;
                p = read_value(p, value);
            }
            const auto known = attribute_table().find(name);
            if (known != attribute_table().end() && !out.has[known->second]) {
                out.has[known->second] = true;
                out.value[known->second] = value;
            }
        }
        return n;
    }

    size_t read_value(size_t p, Range& value) {
        if (p < n && (s[p] == '"' || s[p] == '\'')) {
            bool& none = no_quote_[s[p] == '"'];
            const size_t close = none ? n : find(s[p], p + 1);
            if (close < n) {
                value = {p + 1, close};
                return close + 1;
            }
            none = true;  // browsers lose the rest of the page; we end the value with the tag
            value = {p + 1, find('>', p)};
            return value.second;
        }
        const size_t begin = p;
        while (p < n && !is_html_space(s[p]) && s[p] != '>') ++p;
        value = {begin, p};
        return p;
    }

    // Where the end tag of a raw element begins; the end of the source where there is none.
    size_t raw_end(uint32_t name, size_t p) {
        if (std::find(no_raw_.begin(), no_raw_.end(), name) != no_raw_.end()) return n;
        for (size_t lt = find('<', p); lt < n; lt = find('<', lt + 1)) {
            if (lt + 1 >= n || s[lt + 1] != '/') continue;
            uint32_t hash = FNV;
            size_t q = lt + 2;
            for (; q < n && !ends_name(s[q]) && q < lt + 12; ++q) hash = fnv(hash, lower(s[q]));
            if (hash == name && q < n && ends_name(s[q])) return lt;
        }
        no_raw_.push_back(name);
        return n;
    }

    int number(Range range) const {
        int value = 0;
        for (size_t i = range.first; i < range.second && is_digit(s[i]) && value < 100000; ++i)
            value = 10 * value + static_cast<int>(s[i] - '0');
        return value;
    }

    // Words of class, id, role and itemprop: letters, in lower case, cut at camelCase.

    uint32_t hash_of(Range range) const {
        uint32_t hash = FNV;
        for (size_t i = range.first; i < range.second; ++i) hash = fnv(hash, lower(s[i]));
        return hash;
    }


   private:
    bool no_quote_[2] = {false, false};  // no further apostrophe, no further quotation mark
    std::vector<uint32_t> no_raw_;       // elements that have no further end tag
};

}  // namespace llmill::html
