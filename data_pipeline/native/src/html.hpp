// A page as text blocks with their place in the document: what the tokenizer makes and the features are computed from.
// data_pipeline/extract/reference/ holds the same in plain Python.
#pragma once

#include <Python.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace llmill::html {

// Elements that anything below asks for; every other name is OTHER.
enum Tag : uint8_t {
    OTHER, A, ADDRESS, ARTICLE, ASIDE, BLOCKQUOTE, BODY, BR, BUTTON, CAPTION, CENTER, DD, DETAILS, DIALOG, DIV, DL, DT,
    FIELDSET, FIGCAPTION, FIGURE, FOOTER, FORM, H1, H2, H3, H4, H5, H6, HEADER, HR, LABEL, LEGEND, LI, MAIN, NAV, OL, P,
    PRE, SECTION, SPAN, SUMMARY, TABLE, TBODY, TD, TFOOT, TH, THEAD, TR, UL, CUSTOM,
    NOSCRIPT, MATH, ANNOTATION, SVG, SELECT, OPTION, TIME, TAGS
};

// What an ancestor may be, as bits.
enum Ancestor : uint32_t {
    IN_NAV = 1, IN_HEADER = 2, IN_FOOTER = 4, IN_ASIDE = 8, IN_ARTICLE = 16, IN_MAIN = 32, IN_FORM = 64, IN_TABLE = 128,
    IN_UL = 256, IN_OL = 512, IN_FIGURE = 1024, IN_SECTION = 2048, IN_BUTTON = 4096, IN_QUOTE = 8192, IN_DL = 16384,
    HIDDEN = 32768, IN_NOSCRIPT = 65536,
};
constexpr int ANCESTORS = 17;

// A block-level element.
struct Node {
    int32_t parent = -1;
    Tag tag = BODY;
    uint16_t depth = 0;
    uint32_t ancestors = 0;   // bits of itself and what it lies in
    int32_t first = 0;        // its blocks: first <= i < last
    int32_t last = 0;
    uint32_t token0 = 0, token1 = 0;  // words of its class, id, role and itemprop
    uint64_t names = 0;       // which of NAMES it or what it lies in is called
    uint32_t class_hash = 0;  // of all its words
    uint32_t path_hash = 0;   // of the tags from the root
    int32_t list_depth = 0;   // lists it lies in
    int32_t ordinal = -1;     // of an item in an ordered list
    bool author = false;      // its class or the like says author or byline
    bool data_table = false;  // rows and columns of short texts, one a cell, no table inside, half of it filled
};

// A run of text without a block-level boundary.
struct Block {
    uint32_t text0, text1;    // in Page::text
    int32_t node;             // the innermost block-level element
    uint32_t link_chars = 0;  // characters inside links, white space not counted
    uint32_t links = 0;
    uint32_t inline0 = 0, inline1 = 0;  // words of class and id of the inline elements in it
    bool after_br = false;
    bool pre = false;
    bool author = false;      // something in or around it is named author or byline
    uint32_t tags = 0;        // start and end tags before it
};

// Words of class names that say what an element is for; an element called by one of a group has the group's bit.
constexpr int NAME_GROUPS = 44;
constexpr int SCHEMA_TYPES = 12;

using Range = std::pair<size_t, size_t>;

struct Page {
    std::vector<Py_UCS4> text;
    std::vector<Node> nodes;
    std::vector<Block> blocks;
    std::vector<uint32_t> tokens, inline_tokens;
    Range title{0, 0}, description{0, 0};      // in the source
    std::vector<std::pair<Range, Range>> metas;  // name and content
    std::vector<Range> json_ld, times;
    size_t forms = 0, scripts = 0;
    uint32_t schema = 0;                       // bits of the schema.org types that JSON-LD names
    int og_type = 0;                           // 1 article, 2 product, 3 website, 4 another; 0 not stated
    bool cut = false;                          // a bound was reached, and the rest of the page left out
};

// Bounds on the work for one page; pages beyond them are cut off there. Of 1,500 real pages none comes near.
struct Limits {
    size_t tags = 400000;
    size_t blocks = 20000;
    size_t depth = 400;
};

constexpr uint32_t FNV = 2166136261u;
inline uint32_t fnv(uint32_t hash, uint32_t c) { return (hash ^ c) * 16777619u; }
constexpr uint32_t fnv(const char* s) {
    uint32_t hash = FNV;
    for (; *s; ++s) hash = (hash ^ static_cast<uint32_t>(*s)) * 16777619u;
    return hash;
}

void set_entities(PyObject* names, PyObject* charrefs, PyObject* invalid);
Page parse(PyObject* text, const Limits& limits);
void mark_data_tables(Page& page);

}  // namespace llmill::html
