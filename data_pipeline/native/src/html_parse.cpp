// One tolerant pass over the HTML: tags and text to blocks. Follows the HTML standard's tokenizer and its rules on
// implied end tags, not its tree construction: there is no tree, only the stack of open elements.
#include "html_writer.hpp"

namespace llmill::html {

namespace {

struct Open {
    uint32_t name;
    Tag tag;
    uint8_t flags;
    bool link, skip, pre, math;
    int32_t node;  // the innermost block-level element, itself if it is one
};

constexpr uint32_t AUTHOR = fnv("author"), BYLINE = fnv("byline");
constexpr size_t MAX_TOKENS = 24, MAX_TOKEN = 24;

template <class Unit>
class Parser : public Writer<Unit> {
   public:
    Parser(const Unit* source, size_t size, const Limits& limits) : Writer<Unit>(source, size), limits_(limits) {
        page.nodes.emplace_back();
        page.text.reserve(size / 8);
    }

    Page run() {
        size_t i = 0;
        while (i < n) {
            const size_t lt = find('<', i);
            if (lt > i) text(i, lt);
            if (lt >= n) break;
            i = markup(lt);
            if (tags_ > limits_.tags || page.blocks.size() >= limits_.blocks) {
                page.cut = true;
                break;
            }
        }
        flush();
        while (!stack_.empty()) pop_top();
        page.nodes[0].last = static_cast<int32_t>(page.blocks.size());
        return std::move(page);
    }

   private:
    using Base = Writer<Unit>;
    using Base::s, Base::n, Base::find, Base::find_until, Base::starts, Base::contains, Base::comment, Base::ends_name;
    using Base::read_attributes, Base::raw_end, Base::number, Base::hash_of;
    using Base::page, Base::tags_, Base::links_, Base::skips_, Base::pres_, Base::pending_space_, Base::after_br_;
    using Base::link_ended_, Base::link_count_, Base::author_, Base::inline_start_, Base::math_known_;
    using Base::text, Base::formula, Base::new_line;

    Limits limits_;
    std::vector<Open> stack_;
    size_t math_start_ = 0;    // of the open formula, in page.text
    bool math_space_ = false;  // white space came before it
    size_t after_tag_ = 0;     // in the source, of the tag being read

    void flush() { Base::flush(node()); }

    // ---- tokenizer: each returns the place where reading goes on

    size_t markup(size_t lt) {
        const Py_UCS4 c = lt + 1 < n ? s[lt + 1] : 0;
        if (is_letter(c)) return start_tag(lt);
        if (c == '/' && lt + 2 < n && is_letter(s[lt + 2])) return end_tag(lt);
        if (c == '!' && starts(lt, "<!--")) return comment(lt + 4);
        if (c == '!' || c == '?' || c == '/') return std::min(n, find('>', lt + 2) + 1);
        text(lt, lt + 1);
        return lt + 1;
    }

    size_t start_tag(size_t lt) {
        ++tags_;
        size_t p = lt + 1;
        uint32_t name = FNV;
        Attributes attributes;
        for (; p < n && !ends_name(s[p]); ++p) {
            name = fnv(name, lower(s[p]));
            attributes.custom = attributes.custom || s[p] == '-';
        }
        p = read_attributes(p, attributes);
        const auto found = tag_table().find(name);
        const TagInfo info = found == tag_table().end()
                                 ? TagInfo{attributes.custom ? CUSTOM : OTHER,
                                           static_cast<uint8_t>(attributes.custom ? BLOCK : 0), 0}
                                 : found->second;
        if (info.flags & RAW) return raw(name, attributes, p);
        after_tag_ = p;
        start(name, info, attributes);
        return p;
    }

    size_t end_tag(size_t lt) {
        ++tags_;
        size_t p = lt + 2;
        uint32_t name = FNV;
        for (; p < n && !ends_name(s[p]); ++p) name = fnv(name, lower(s[p]));
        const auto found = tag_table().find(name);
        end(name, found == tag_table().end() ? TagInfo{OTHER, 0, 0} : found->second);
        return std::min(n, find('>', p) + 1);
    }

    // Content of script, style, title and the like, up to its end tag.
    size_t raw(uint32_t name, const Attributes& attributes, size_t p) {
        const size_t end = raw_end(name, p);
        const bool fatal = name == fnv("script") || name == fnv("style");
        if (end == n && !fatal) return p;  // never closed: what follows is the page
        if (name == fnv("title") && page.title.second == 0 && !skips_) page.title = {p, end};
        if (name == fnv("script")) {
            ++page.scripts;
            if (attributes.has[TYPE] && page.json_ld.size() < 50 && contains(attributes.value[TYPE], "ld+json")) {
                page.json_ld.emplace_back(p, end);
                note_types({p, end});
            }
            if (attributes.has[TYPE] && contains(attributes.value[TYPE], "math/tex"))
                formula({p, end});
        }
        return end < n ? std::min(n, find('>', end) + 1) : n;
    }

    // ---- stack of open elements

    int32_t node() const { return stack_.empty() ? 0 : stack_.back().node; }

    void pop_top() {
        const Open open = stack_.back();
        if (open.flags & BLOCK && !open.skip && (!pres_ || open.pre)) flush();
        release(open);
        stack_.pop_back();
    }
    void release(const Open& open) {
        if (open.link) {
            --links_;
            link_ended_ = true;
        }
        skips_ -= open.skip;
        pres_ -= open.pre;
        if (open.flags & BLOCK)
            page.nodes[open.node].last = static_cast<int32_t>(page.blocks.size());
    }
    void pop_to(size_t index) {
        while (stack_.size() > index) pop_top();
    }

    void close_paragraph() {
        for (size_t i = stack_.size(); i-- > 0;) {
            if (stack_[i].tag == P) return pop_to(i);
            if (stack_[i].flags & (BLOCK | SCOPE)) return;
        }
    }
    // Ends the open `a` or `b`, unless an element of `stop` comes first.
    template <class Match, class Stop>
    void close_open(Match match, Stop stop) {
        for (size_t i = stack_.size(); i-- > 0;) {
            if (match(stack_[i].tag)) return pop_to(i);
            if (stop(stack_[i].tag)) return;
        }
    }
    void close_implied(const TagInfo& info) {
        if (info.flags & CLOSES_P) close_paragraph();
        const auto table = [](Tag t) { return t == TABLE; };
        switch (info.tag) {
            case LI:
                close_open([](Tag t) { return t == LI; }, [](Tag t) { return item_stop(t); });
                break;
            case DD: case DT:
                close_open([](Tag t) { return t == DD || t == DT; }, [](Tag t) { return item_stop(t); });
                break;
            case TR: close_open([](Tag t) { return t == TR; }, table); break;
            case TD: case TH:
                close_open([](Tag t) { return t == TD || t == TH; }, [](Tag t) { return t == TR || t == TABLE; });
                break;
            case TBODY: case THEAD: case TFOOT:
                close_open([](Tag t) { return t == TBODY || t == THEAD || t == TFOOT || t == CAPTION; }, table);
                break;
            case H1: case H2: case H3: case H4: case H5: case H6:
                if (!stack_.empty() && stack_.back().tag >= H1 && stack_.back().tag <= H6) pop_top();
                break;
            case BUTTON:
                close_open([](Tag t) { return t == BUTTON; }, [](Tag t) { return t == TD || t == TABLE || t == FORM; });
                break;
            case A:
                close_open([](Tag t) { return t == A; }, [](Tag t) { return t != OTHER && t != SPAN; });
                break;
            default: break;
        }
    }
    static bool item_stop(Tag t) {
        return t != OTHER && t != SPAN && t != A && t != DIV && t != P && t != ADDRESS && t != LABEL && t != TIME;
    }
    // Elements that cannot stand where we are: what should have been closed is closed.
    void break_out(const TagInfo& info) {
        if (skips_ && info.flags & CLOSES_P)
            for (size_t i = stack_.size(); i-- > 0;)
                if (stack_[i].skip && (stack_[i].tag == SVG || stack_[i].tag == SELECT)) return pop_to(i);
        if (pres_ && (info.tag == ARTICLE || info.tag == SECTION || info.tag == FOOTER || info.tag == NAV ||
                      info.tag == MAIN || info.tag == TABLE || (info.tag >= H1 && info.tag <= H6)))
            for (size_t i = stack_.size(); i-- > 0;)
                if (stack_[i].pre) return pop_to(i);
    }

    void start(uint32_t name, const TagInfo& info, const Attributes& a) {
        if (name == fnv("html") || name == fnv("head") || name == fnv("body")) return flush();
        if (name == fnv("meta")) return meta(a);
        if (info.tag == BR) return line_break();
        break_out(info);
        close_implied(info);
        if (info.tag == HR) return flush();
        if (info.flags & VOID) return;
        if (skips_ && a.self_closing) return;  // in SVG
        if (stack_.size() >= limits_.depth) {
            if (info.flags & BLOCK) flush();
            return;
        }
        if (name == fnv("form")) ++page.forms;
        Open open{
            name,  info.tag, info.flags, false, (info.flags & SKIP) != 0, info.tag == PRE && !pres_, info.tag == MATH,
            node()};
        if (info.tag == ANNOTATION) return annotation(open, a);
        if (info.tag == MATH) math(open, a);
        if (info.flags & BLOCK && !skips_ && !(pres_ && info.tag != PRE)) {
            flush();
            open.node = add_node(info, a);
        } else if (pres_ && info.flags & BLOCK) {
            new_line();
            open.flags &= static_cast<uint8_t>(~BLOCK);
        } else if (skips_) {
            open.flags &= static_cast<uint8_t>(~BLOCK);
        } else {
            inline_element(open, info, a);
        }
        skips_ += open.skip;
        pres_ += open.pre;
        stack_.push_back(open);
    }

    void inline_element(Open& open, const TagInfo& info, const Attributes& a) {
        const size_t before = page.inline_tokens.size();
        tokens(a, page.inline_tokens);
        if (page.inline_tokens.size() > inline_start_ + 64)
            page.inline_tokens.resize(std::max(before, inline_start_ + 64));
        if (info.tag == A && a.has[HREF]) {
            open.link = true;
            ++links_;
            ++link_count_;
            if (link_ended_) pending_space_ = true;  // links side by side are words of their own
        }
        if (a.has[CLASS] && contains(a.value[CLASS], "katex-html")) open.skip = true;
        if (info.tag == TIME && a.has[DATETIME] && page.times.size() < 20) page.times.push_back(a.value[DATETIME]);
    }

    void end(uint32_t name, const TagInfo& info) {
        if (name == fnv("html") || name == fnv("body") || name == fnv("head")) return;
        if (info.tag == BR) return line_break();
        const bool table = info.tag == TABLE || info.tag == TR || info.tag == TD || info.tag == TH ||
                           info.tag == TBODY || info.tag == THEAD || info.tag == TFOOT || info.tag == CAPTION;
        const bool block = (info.flags & (BLOCK | SKIP)) != 0;
        for (size_t i = stack_.size(); i-- > 0;) {
            const Open& open = stack_[i];
            if (open.name == name) {
                if (block || i + 1 == stack_.size()) return pop_to(i);
                if (info.flags & FORMAT && crosses_block(i)) return remove(i);
                return pop_to(i);
            }
            if (open.tag == TABLE || (!table && open.flags & SCOPE)) return;
            if (!block && !(info.flags & FORMAT) && open.flags & BLOCK) return;
        }
    }
    bool crosses_block(size_t index) const {
        return std::any_of(stack_.begin() + index + 1, stack_.end(), [](const Open& o) { return o.flags & BLOCK; });
    }
    void remove(size_t index) {
        if (stack_[index].link) {
            --links_;
            link_ended_ = true;
        }
        skips_ -= stack_[index].skip;
        stack_.erase(stack_.begin() + static_cast<std::ptrdiff_t>(index));
    }

    int32_t add_node(const TagInfo& info, const Attributes& a) {
        const int32_t index = static_cast<int32_t>(page.nodes.size());
        const int32_t parent_index = node();
        Node made;
        const Node& parent = page.nodes[parent_index];
        made.parent = parent_index;
        made.tag = info.tag;
        made.depth = static_cast<uint16_t>(parent.depth + 1);
        made.ancestors = parent.ancestors | info.ancestor;
        if (a.has[IS_HIDDEN] || (a.has[ARIA_HIDDEN] && contains(a.value[ARIA_HIDDEN], "true")) ||
            (a.has[STYLE] &&
             (contains(a.value[STYLE], "display:none") || contains(a.value[STYLE], "visibility:hidden"))))
            made.ancestors |= HIDDEN;
        made.first = made.last = static_cast<int32_t>(page.blocks.size());
        made.list_depth = parent.list_depth + (info.tag == UL || info.tag == OL);
        if (info.tag == OL) made.ordinal = a.has[START] ? number(a.value[START]) - 1 : 0;  // of the item before
        if (info.tag == LI && parent.tag == OL) made.ordinal = ++page.nodes[parent_index].ordinal;
        made.path_hash = fnv(page.nodes[parent_index].path_hash ^ FNV, info.tag);
        made.token0 = static_cast<uint32_t>(page.tokens.size());
        tokens(a, page.tokens);
        made.token1 = static_cast<uint32_t>(page.tokens.size());
        made.class_hash = FNV;
        made.names = page.nodes[parent_index].names;
        for (uint32_t i = made.token0; i < made.token1; ++i) {
            made.class_hash = fnv(made.class_hash, page.tokens[i]);
            const auto group = name_groups().find(page.tokens[i]);
            if (group != name_groups().end()) made.names |= uint64_t{1} << group->second;
            made.author = made.author || page.tokens[i] == AUTHOR || page.tokens[i] == BYLINE;
        }
        page.nodes.push_back(made);
        return index;
    }

    // Words of class, id, role and itemprop: letters, in lower case, cut at camelCase.
    void tokens(const Attributes& a, std::vector<uint32_t>& out) {
        size_t count = 0;
        for (Attribute which : {CLASS, ID, ROLE, ITEMPROP, REL}) {
            if (!a.has[which]) continue;
            uint32_t hash = FNV;
            size_t length = 0;
            bool upper = true;
            const Range range = a.value[which];
            for (size_t i = range.first; i <= range.second && count < MAX_TOKENS; ++i) {
                const Py_UCS4 c = i < range.second ? s[i] : ' ';
                const bool up = c >= 'A' && c <= 'Z';
                if (length && (!is_letter(c) || (up && !upper))) {
                    if (length >= 2 && length <= MAX_TOKEN) {
                        out.push_back(hash);
                        ++count;
                        if (&out == &page.inline_tokens && (hash == AUTHOR || hash == BYLINE)) author_ = true;
                    }
                    hash = FNV;
                    length = 0;
                }
                if (is_letter(c)) {
                    hash = fnv(hash, lower(c));
                    ++length;
                }
                upper = up;
            }
        }
    }

    // The names that follow "@type" in a JSON-LD script.
    void note_types(Range range) {
        for (size_t at = find_until('@', range.first, range.second); at < range.second;
             at = find_until('@', at + 1, range.second)) {
            if (!starts(at, "@type\"")) continue;
            const size_t stop = std::min(range.second, at + 80);
            for (size_t open = at + 6; open < stop && s[open] != ',' && s[open] != '}'; ++open) {
                if (s[open] != '"') continue;
                const size_t close = find_until('"', open + 1, stop);
                const auto found = schema_types().find(hash_of({open + 1, close}));
                if (found != schema_types().end()) page.schema |= 1u << found->second;
                break;
            }
        }
    }

    void meta(const Attributes& a) {
        const Attribute key = a.has[PROPERTY] ? PROPERTY : a.has[NAME] ? NAME : ITEMPROP;
        if (a.has[key] && a.has[CONTENT] && page.metas.size() < 100) {
            page.metas.emplace_back(a.value[key], a.value[CONTENT]);
            const uint32_t name = hash_of(a.value[key]);
            if (name == fnv("description") || name == fnv("og:description")) page.description = a.value[CONTENT];
            if (name == fnv("og:type")) {
                const uint32_t type = hash_of(a.value[CONTENT]);
                page.og_type = type == fnv("article")                      ? 1
                               : starts(a.value[CONTENT].first, "product") ? 2
                               : type == fnv("website")                    ? 3
                                                                           : 4;
            }
        }
    }

    // ---- formulas: TeX where the page has it

    void math(Open& open, const Attributes& a) {
        math_start_ = page.text.size();
        math_known_ = true;
        math_space_ = pending_space_;
        if (a.has[ALTTEXT] && !skips_) {
            formula(a.value[ALTTEXT]);
            open.skip = true;
        }
    }
    void annotation(Open open, const Attributes& a) {
        if (a.has[ENCODING] && contains(a.value[ENCODING], "tex") && !skips_ && math_known_) {
            bool in_math = false;
            for (const Open& o : stack_) in_math = in_math || o.math;
            const size_t end = find('<', after_tag_);
            if (in_math && math_start_ <= page.text.size()) {
                page.text.resize(math_start_);
                pending_space_ = math_space_;
                formula({after_tag_, end});
            }
        }
        skips_ += open.skip;
        stack_.push_back(open);
    }

    void line_break() {
        if (skips_) return;
        if (pres_) {
            page.text.push_back('\n');
            return;
        }
        flush();
        after_br_ = true;
    }
};

}  // namespace

Page parse(PyObject* text, const Limits& limits) {
    Page page = with_characters(text, [&](auto* characters, Py_ssize_t length) {
        using Unit = std::remove_const_t<std::remove_pointer_t<decltype(characters)>>;
        return Parser<Unit>(characters, static_cast<size_t>(length), limits).run();
    });
    mark_data_tables(page);
    return page;
}

}  // namespace llmill::html
