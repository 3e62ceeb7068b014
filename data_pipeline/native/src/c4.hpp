// C4's rules on lines (Raffel et al. 2020, section 2.2), as data_pipeline.heuristics.c4 describes them.
#pragma once

#include <pybind11/pybind11.h>

namespace llmill {

struct C4Rules {
    bool remove_citations, require_terminal_punctuation, drop_lorem_ipsum, drop_curly_bracket, remove_policy_lines;
    enum Javascript { KEEP, NOTICES, EVERY } javascript;  // which lines that mention JavaScript go
    bool scripts;               // words and final marks of every script; otherwise white space and ASCII marks
    size_t min_words_per_line;  // 0: no limit
    size_t max_word_length;     // 0: no limit
};

struct C4Result {
    enum Verdict { KEPT, LOREM_IPSUM, CURLY_BRACKET } verdict = KEPT;  // whichever line comes first
    size_t lines = 0;        // kept
    size_t lorem_lines = 0;  // of them with "lorem ipsum"
    size_t curly_lines = 0;  // of them with a curly bracket
    size_t sentences = 0;
    pybind11::object text;  // the lines kept; undefined unless KEPT
};

C4Result c4_clean(pybind11::str text, const C4Rules& rules);

// As data_pipeline.heuristics.tokenise.count_sentences.
size_t count_sentences(pybind11::str line);

}  // namespace llmill
