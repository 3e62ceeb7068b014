#include "c4.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "text.hpp"

namespace py = pybind11;

namespace llmill {

namespace {

using Line = std::vector<Py_UCS4>;

const char* const POLICY[] = {"terms of use", "privacy policy", "cookie policy",
                              "uses cookies", "use of cookies", "use cookies"};

// What lines say that ask for JavaScript, unlike those that teach it.
const char* const NOTICE[] = {"enable", "disabled", "turn on", "activate", "your browser"};

bool is_space(Py_UCS4 c) { return ((*classes)[c] & SPACE) != 0; }

// Whether the lower-cased line holds an ASCII phrase. Simple lower-casing agrees with str.lower() for every phrase that
// does not end in "i" (the one full mapping to ASCII letters, of U+0130, is "i" with a combining dot).
bool mentions(const Line& line, const char* phrase) {
    const size_t size = std::strlen(phrase);
    if (line.size() < size) return false;
    for (size_t i = 0; i + size <= line.size(); ++i) {
        size_t k = 0;
        while (k < size && (line[i + k] < 128 ? (line[i + k] >= 'A' && line[i + k] <= 'Z' ? line[i + k] + 32 : line[i + k])
                                              : Py_UNICODE_TOLOWER(line[i + k])) == static_cast<Py_UCS4>(phrase[k]) &&
               line[i + k] != 0x130)
            ++k;
        if (k == size) return true;
    }
    return false;
}

template <size_t N>
bool mentions_any(const Line& line, const char* const (&phrases)[N]) {
    return std::any_of(phrases, phrases + N, [&](const char* phrase) { return mentions(line, phrase); });
}

bool starts_with(const Line& line, size_t at, const char* phrase) {
    for (; *phrase; ++phrase, ++at)
        if (at >= line.size() || line[at] != static_cast<Py_UCS4>(*phrase)) return false;
    return true;
}

// Without [1], [], [edit] and [citation needed].
void remove_citations(Line& line) {
    size_t out = 0;
    for (size_t i = 0; i < line.size();) {
        if (line[i] == '[') {
            size_t close = i + 1;
            while (close < line.size() && Py_UNICODE_ISDECIMAL(line[close])) ++close;
            if (close < line.size() && line[close] == ']') {
                i = close + 1;
                continue;
            }
            if (starts_with(line, i, "[edit]")) {
                i += 6;
                continue;
            }
            if (starts_with(line, i, "[citation needed]")) {
                i += 17;
                continue;
            }
        }
        line[out++] = line[i++];
    }
    line.resize(out);
}

bool is_wide_mark(Py_UCS4 c) { return c == 0x3002 || c == 0xFF01 || c == 0xFF1F || c == 0xFF61; }
bool is_mark(Py_UCS4 c) { return c == 0x2026 || ((*classes)[c] & TERMINAL && !is_wide_mark(c)); }
bool is_closer(Py_UCS4 c) {
    return c == '"' || c == '\'' || c == 0x201D || c == 0x2019 || c == 0xBB || c == ')' || c == ']';
}
bool is_wide_closer(Py_UCS4 c) { return c == 0x300D || c == 0x300F || c == 0x201D || c == 0x2019 || c == 0xFF09; }

// Ends of sentences are marks with closing quotes before white space, or full-width marks anywhere.
size_t sentences(const Line& line) {
    size_t count = 0, rest = 0;
    for (size_t i = 0; i < line.size();) {
        if (is_mark(line[i])) {
            size_t end = i;
            while (end < line.size() && is_mark(line[end])) ++end;
            while (end < line.size() && is_closer(line[end])) ++end;
            if (end < line.size() && is_space(line[end])) {
                ++count;
                rest = end;
            }
            i = end;
        } else if (is_wide_mark(line[i])) {
            while (i < line.size() && is_wide_mark(line[i])) ++i;
            while (i < line.size() && is_wide_closer(line[i])) ++i;
            ++count;
            rest = i;
        } else {
            ++i;
        }
    }
    const bool more = std::any_of(line.begin() + rest, line.end(), [](Py_UCS4 c) { return !is_space(c); });
    return std::max<size_t>(1, count + more);
}

// (words between white space, the longest one's length); with `scripts`, letters of unspaced scripts one by one.
std::pair<size_t, size_t> words(const Line& line, bool scripts) {
    size_t count = 0, longest = 0, length = 0;
    bool alone = false;
    for (const Py_UCS4 c : line) {
        const uint8_t flags = (*classes)[c];
        if (flags & SPACE) {
            length = 0;
            alone = false;
        } else if (scripts && flags & ALONE) {
            ++count;
            longest = std::max<size_t>(longest, 1);
            length = 0;
            alone = true;
        } else if (!(alone && flags & MARK)) {
            alone = false;
            count += length == 0;
            longest = std::max(longest, ++length);
        }
    }
    return {count, longest};
}

bool ends_in_terminal(const Line& line, bool scripts) {
    if (line.empty()) return false;
    const Py_UCS4 last = line.back();
    const bool ascii = last == '.' || last == '?' || last == '!' || last == '"' || last == '\'';
    if (!ascii && !(scripts && ((*classes)[last] & TERMINAL || is_closer(last) || is_wide_closer(last)))) return false;
    const size_t n = line.size();
    return !(n >= 3 && line[n - 1] == '.' && line[n - 2] == '.' && line[n - 3] == '.');
}

// Whether the line stays; it loses its citations. What speaks against the document is counted in `result`.
bool keep_line(Line& line, const C4Rules& rules, C4Result& result) {
    const auto [count, longest] = words(line, rules.scripts);
    if (rules.max_word_length && longest > rules.max_word_length) return false;
    if (rules.remove_citations) remove_citations(line);
    if (rules.require_terminal_punctuation && !ends_in_terminal(line, rules.scripts)) return false;
    if (count < rules.min_words_per_line) return false;
    const bool lorem = mentions(line, "lorem ipsum");
    bool fatal = lorem && rules.drop_lorem_ipsum;  // such a line ends the document: no rule removes it before
    if (fatal && result.verdict == C4Result::KEPT) result.verdict = C4Result::LOREM_IPSUM;
    if (!fatal && rules.javascript != C4Rules::KEEP && mentions(line, "javascript") &&
        (rules.javascript == C4Rules::EVERY || mentions_any(line, NOTICE)))
        return false;
    const bool curly = std::find(line.begin(), line.end(), '{') != line.end();
    if (curly && rules.drop_curly_bracket) {
        fatal = true;
        if (result.verdict == C4Result::KEPT) result.verdict = C4Result::CURLY_BRACKET;
    }
    if (!fatal && rules.remove_policy_lines && mentions_any(line, POLICY)) return false;
    result.lorem_lines += lorem;
    result.curly_lines += curly;
    return true;
}

}  // namespace

C4Result c4_clean(py::str text, const C4Rules& rules) {
    C4Result result;
    Line kept, line;
    bool any = false;
    with_characters(text.ptr(), [&](auto* characters, Py_ssize_t length) {
        for (Py_ssize_t i = 0; i < length;) {
            Py_ssize_t begin = i;
            while (i < length && !((*classes)[characters[i]] & LINE_BREAK)) ++i;
            Py_ssize_t end = i;
            if (i < length) i += characters[i] == '\r' && i + 1 < length && characters[i + 1] == '\n' ? 2 : 1;
            while (begin < end && is_space(characters[begin])) ++begin;
            while (end > begin && is_space(characters[end - 1])) --end;
            line.assign(characters + begin, characters + end);
            if (!keep_line(line, rules, result)) continue;
            ++result.lines;
            result.sentences += sentences(line);
            if (any) kept.push_back('\n');
            any = true;
            kept.insert(kept.end(), line.begin(), line.end());
        }
        return 0;
    });
    if (result.verdict != C4Result::KEPT) return result;
    auto begin = kept.begin(), end = kept.end();
    while (begin != end && is_space(*begin)) ++begin;
    while (end != begin && is_space(end[-1])) --end;
    PyObject* cleaned = PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, kept.data() + (begin - kept.begin()), end - begin);
    if (!cleaned) throw py::error_already_set();
    result.text = py::reinterpret_steal<py::object>(cleaned);
    return result;
}

size_t count_sentences(py::str text) {
    Line line;
    with_characters(text.ptr(), [&](auto* characters, Py_ssize_t length) {
        line.assign(characters, characters + length);
        return 0;
    });
    return sentences(line);
}

}  // namespace llmill
