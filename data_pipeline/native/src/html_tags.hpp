// What the parser knows about names: elements, words of class names, schema.org types, character references.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

#include "html.hpp"

namespace llmill::html {

enum Flag : uint8_t {
    BLOCK = 1,      // begins and ends a block
    CLOSES_P = 2,   // its start ends an open paragraph
    VOID = 4,       // has no end
    RAW = 8,        // its content is not markup
    SKIP = 16,      // its text is never part of the page's text
    FORMAT = 32,    // may end across block boundaries
    SCOPE = 64,     // end tags inside do not reach beyond
};

struct TagInfo {
    Tag tag;
    uint8_t flags;
    uint32_t ancestor;
};

// Elements that are not in the table are inline, unless their name holds a hyphen.
const std::unordered_map<uint32_t, TagInfo>& tag_table();
// Groups of words in class names, as bits of Node::names.
const std::unordered_map<uint32_t, int>& name_groups();
// Types of schema.org, as bits of Page::schema.
const std::unordered_map<uint32_t, int>& schema_types();

struct Entities {
    std::unordered_map<std::string, std::vector<Py_UCS4>> names;
    std::unordered_map<uint32_t, Py_UCS4> charrefs;  // numbers that stand for another character
    std::unordered_map<uint32_t, bool> invalid;      // numbers that stand for none
};
extern Entities* entities;  // Python's own tables, set when the package is imported

}  // namespace llmill::html
