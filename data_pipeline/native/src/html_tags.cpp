#include "html_tags.hpp"

namespace llmill::html {

Entities* entities = nullptr;

const std::unordered_map<uint32_t, TagInfo>& tag_table() {
    static const std::unordered_map<uint32_t, TagInfo> table = [] {
        std::unordered_map<uint32_t, TagInfo> t;
        auto add = [&](const char* name, Tag tag, int flags, uint32_t ancestor = 0) {
            t[fnv(name)] = TagInfo{tag, static_cast<uint8_t>(flags), ancestor};
        };
        const int B = BLOCK | CLOSES_P;
        add("address", ADDRESS, B); add("article", ARTICLE, B, IN_ARTICLE); add("aside", ASIDE, B, IN_ASIDE);
        add("blockquote", BLOCKQUOTE, B, IN_QUOTE); add("button", BUTTON, BLOCK, IN_BUTTON);
        add("caption", CAPTION, BLOCK | SCOPE); add("center", CENTER, B); add("dd", DD, B); add("details", DETAILS, B);
        add("dialog", DIALOG, B); add("div", DIV, B); add("dl", DL, B, IN_DL); add("dt", DT, B);
        add("fieldset", FIELDSET, B); add("figcaption", FIGCAPTION, B); add("figure", FIGURE, B, IN_FIGURE);
        add("footer", FOOTER, B, IN_FOOTER); add("form", FORM, B, IN_FORM); add("h1", H1, B); add("h2", H2, B);
        add("h3", H3, B); add("h4", H4, B); add("h5", H5, B); add("h6", H6, B); add("header", HEADER, B, IN_HEADER);
        add("hgroup", DIV, B); add("label", LABEL, BLOCK); add("legend", LEGEND, BLOCK); add("li", LI, B);
        add("main", MAIN, B, IN_MAIN); add("menu", UL, B, IN_UL); add("nav", NAV, B, IN_NAV); add("ol", OL, B, IN_OL);
        add("p", P, B); add("pre", PRE, B); add("listing", PRE, B); add("search", DIV, B); add("dir", UL, B, IN_UL);
        add("section", SECTION, B, IN_SECTION); add("summary", SUMMARY, B); add("table", TABLE, B | SCOPE, IN_TABLE);
        add("tbody", TBODY, BLOCK);
        add("td", TD, BLOCK | SCOPE);
        add("tfoot", TFOOT, BLOCK);
        add("th", TH, BLOCK | SCOPE);
        add("thead", THEAD, BLOCK); add("tr", TR, BLOCK); add("ul", UL, B, IN_UL);
        add("noscript", NOSCRIPT, BLOCK, IN_NOSCRIPT);
        add("br", BR, VOID); add("hr", HR, VOID | CLOSES_P);
        for (const char* name : {"meta", "link", "img", "input", "area", "base", "basefont", "bgsound", "col", "embed",
                                 "frame", "keygen", "param", "source", "track", "wbr"})
            add(name, OTHER, VOID);
        for (const char* name : {"script", "style", "iframe", "noembed", "noframes", "xmp", "textarea", "title"})
            add(name, OTHER, RAW);
        for (const char* name : {"template", "object", "canvas", "video", "audio", "map", "datalist"})
            add(name, OTHER, SKIP);
        add("select", SELECT, SKIP); add("svg", SVG, SKIP); add("math", MATH, 0); add("annotation", ANNOTATION, SKIP);
        add("annotation-xml", OTHER, SKIP);
        add("a", A, FORMAT);
        for (const char* name :
             {"b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"})
            add(name, OTHER, FORMAT);
        add("span", SPAN, 0); add("time", TIME, 0);
        return t;
    }();
    return table;
}

const std::unordered_map<uint32_t, int>& name_groups() {
    static const char* const groups[NAME_GROUPS] = {"comment comments disqus",
                                                    "reply replies thread threads",
                                                    "topic topics forum",
                                                    "message messages msg bbcode",
                                                    "answer answers question questions faq",
                                                    "related similar",
                                                    "recommended recommendation recommendations more also",
                                                    "share sharing social follow",
                                                    "sidebar aside rail side",
                                                    "footer foot bottom",
                                                    "nav navigation navbar menu submenu",
                                                    "breadcrumb breadcrumbs crumb",
                                                    "author byline bio",
                                                    "ad ads advert advertisement sponsor sponsored",
                                                    "promo banner cta",
                                                    "newsletter subscribe subscription signup",
                                                    "cookie cookies consent gdpr",
                                                    "popup modal overlay dialog drawer",
                                                    "tag tags",
                                                    "widget widgets",
                                                    "header masthead top",
                                                    "hero",
                                                    "title headline heading",
                                                    "meta info",
                                                    "date time timestamp published",
                                                    "content contents",
                                                    "article articles",
                                                    "post posts",
                                                    "entry",
                                                    "body",
                                                    "main",
                                                    "text prose markdown",
                                                    "story",
                                                    "description desc summary excerpt",
                                                    "product products",
                                                    "price prices cart",
                                                    "review reviews rating ratings",
                                                    "item items",
                                                    "card cards grid tile",
                                                    "code highlight",
                                                    "caption credit figcaption",
                                                    "toc outline",
                                                    "search filter filters sort",
                                                    "list listing results"};
    static const std::unordered_map<uint32_t, int> table = [] {
        std::unordered_map<uint32_t, int> made;
        for (int group = 0; group < NAME_GROUPS; ++group) {
            uint32_t hash = FNV;
            for (const char* c = groups[group];; ++c) {
                if (*c == ' ' || !*c) {
                    made[hash] = group;
                    hash = FNV;
                } else {
                    hash = fnv(hash, static_cast<uint32_t>(*c));
                }
                if (!*c) break;
            }
        }
        return made;
    }();
    return table;
}

const std::unordered_map<uint32_t, int>& schema_types() {
    static const std::unordered_map<uint32_t, int> types{
            {fnv("article"), 0}, {fnv("newsarticle"), 1}, {fnv("reportagenewsarticle"), 1}, {fnv("blogposting"), 2},
            {fnv("product"), 3}, {fnv("productgroup"), 3}, {fnv("discussionforumposting"), 4}, {fnv("qapage"), 5},
            {fnv("itemlist"), 6}, {fnv("collectionpage"), 7}, {fnv("faqpage"), 8}, {fnv("recipe"), 9},
            {fnv("comment"), 10}, {fnv("techarticle"), 11}};
    return types;
}

void set_entities(PyObject* names, PyObject* charrefs, PyObject* invalid) {
    auto* made = new Entities();
    PyObject *key, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(names, &position, &key, &value)) {
        std::vector<Py_UCS4> characters;
        for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(value); ++i)
            characters.push_back(PyUnicode_READ_CHAR(value, i));
        made->names[PyUnicode_AsUTF8(key)] = characters;
    }
    position = 0;
    while (PyDict_Next(charrefs, &position, &key, &value))
        made->charrefs[static_cast<uint32_t>(PyLong_AsUnsignedLong(key))] = PyUnicode_READ_CHAR(value, 0);
    PyObject* iterator = PyObject_GetIter(invalid);
    while (PyObject* item = PyIter_Next(iterator)) {
        made->invalid[static_cast<uint32_t>(PyLong_AsUnsignedLong(item))] = true;
        Py_DECREF(item);
    }
    Py_DECREF(iterator);
    delete entities;
    entities = made;
}

}  // namespace llmill::html
