#include "lines.hpp"

#include "text.hpp"

namespace py = pybind11;

namespace llmill {

namespace {

bool is_space(Py_UCS4 c) { return ((*classes)[c] & SPACE) != 0; }

// Calls f(begin, end) for each line as str.splitlines() cuts them.
template <class Unit, class F>
void split_lines(const Unit* text, const Unit* end, F&& f) {
    while (text != end) {
        const Unit* line = text;
        while (text != end && !((*classes)[*text] & LINE_BREAK)) ++text;
        f(line, text);
        if (text == end) return;
        if (*text == '\r' && text + 1 != end && text[1] == '\n') ++text;
        ++text;
    }
}

template <class Unit>
bool ends_in_ellipsis(const Unit* begin, const Unit* end) {
    if (end == begin) return false;
    if (static_cast<Py_UCS4>(end[-1]) == 0x2026) return true;
    return end - begin >= 3 && end[-1] == '.' && end[-2] == '.' && end[-3] == '.';
}

}  // namespace

LineMarks line_marks(py::str text) {
    return with_characters(text.ptr(), [](auto* characters, Py_ssize_t length) {
        LineMarks marks;
        split_lines(characters, characters + length, [&](auto* begin, auto* end) {
            ++marks.lines;
            while (begin != end && is_space(*begin)) ++begin;
            while (begin != end && is_space(end[-1])) --end;
            if (begin != end && (*begin == '-' || static_cast<Py_UCS4>(*begin) == 0x2022)) ++marks.bullets;
            if (ends_in_ellipsis(begin, end)) ++marks.ellipses;
        });
        return marks;
    });
}

LineShape line_shape(py::str text, size_t short_characters) {
    return with_characters(text.ptr(), [&](auto* characters, Py_ssize_t length) {
        LineShape shape;
        const auto* last = characters + length;
        for (const auto* c = characters; c != last; ++c) shape.newlines += *c == '\n';
        Counts seen(shape.newlines + 1);
        for (const auto* line = characters;; ++line) {
            const auto* begin = line;
            bool blank = true;
            for (; line != last && *line != '\n'; ++line) blank = blank && is_space(*line);
            if (!blank) {
                const size_t size = line - begin;
                ++shape.lines;
                if ((*classes)[line[-1]] & TERMINAL) ++shape.terminal;
                if (size <= short_characters) ++shape.short_lines;
                if (seen.add(polynomial(begin, line), 0).count > 1) shape.duplicate_characters += size;
            }
            if (line == last) break;
        }
        return shape;
    });
}

std::pair<size_t, size_t> white_space_words(py::str text) {
    return with_characters(text.ptr(), [](auto* characters, Py_ssize_t length) {
        size_t words = 0, with_letter = 0;
        bool inside = false, letter = false;
        for (Py_ssize_t i = 0; i < length; ++i) {
            const uint8_t flags = (*classes)[characters[i]];
            if (flags & SPACE) {
                with_letter += inside && letter;
                inside = letter = false;
                continue;
            }
            words += !inside;
            inside = true;
            letter = letter || flags & ALPHA;
        }
        with_letter += inside && letter;
        return std::pair<size_t, size_t>{words, with_letter};
    });
}

}  // namespace llmill
