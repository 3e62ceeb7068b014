// What the heuristics count over the lines of a text.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <vector>

namespace llmill {

struct LineMarks {  // over str.splitlines()
    size_t lines = 0;
    size_t bullets = 0;   // starting with a bullet or a hyphen after white space
    size_t ellipses = 0;  // ending in ... or … before white space
};
LineMarks line_marks(pybind11::str text);

struct LineShape {  // over lines between \n that are not blank
    size_t lines = 0;
    size_t terminal = 0;              // ending in a mark of TERMINAL_PUNCTUATION
    size_t short_lines = 0;           // of at most `short_characters` characters
    size_t duplicate_characters = 0;  // in lines that repeat an earlier one
    size_t newlines = 0;              // \n in the text
};
LineShape line_shape(pybind11::str text, size_t short_characters);

// (words between white space, those with a letter)
std::pair<size_t, size_t> white_space_words(pybind11::str text);

}  // namespace llmill
