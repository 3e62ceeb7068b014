// The text of a page, cut into blocks: white space collapsed but in preformatted text, character references resolved.
#pragma once

#include "html_source.hpp"

namespace llmill::html {

template <class Unit>
class Writer : public Source<Unit> {
   public:
    using Source<Unit>::Source;

   protected:
    using Source<Unit>::s;
    using Source<Unit>::n;
    using Source<Unit>::starts;

    Page page;
    size_t tags_ = 0;
    int links_ = 0, skips_ = 0, pres_ = 0;  // open links, open elements without text, open preformatted elements
    size_t start_ = 0;                      // of the open block, in page.text
    bool pending_space_ = false, after_br_ = false, link_ended_ = false, math_known_ = false, author_ = false;
    uint32_t link_chars_ = 0, link_count_ = 0;
    size_t inline_start_ = 0;

    void text(size_t from, size_t to) {
        if (skips_) return;
        for (size_t i = from; i < to;) {
            const Py_UCS4 c = s[i];
            if (c == '&') {
                i = reference(i, to);
            } else {
                push(c);
                ++i;
            }
        }
    }

    void push(Py_UCS4 c) {
        if (pres_) {
            if (is_ignorable(c) || c == '\r') return;
            if (c != '\n' && c != '\t' && is_space(c)) c = ' ';
            page.text.push_back(c);
            if (!is_space(c)) link_chars_ += links_ > 0;
            return;
        }
        if (is_space(c)) {
            pending_space_ = true;
            return;
        }
        if (is_ignorable(c)) return;
        if (pending_space_ && page.text.size() > start_) page.text.push_back(' ');
        pending_space_ = false;
        link_ended_ = false;
        page.text.push_back(c);
        link_chars_ += links_ > 0;
    }

    // A character reference at `i`, as Python's html.unescape reads it.
    size_t reference(size_t i, size_t to) {
        size_t p = i + 1;
        if (p < to && s[p] == '#') {
            ++p;
            const bool hex = p < to && lower(s[p]) == 'x';
            p += hex;
            uint64_t value = 0;
            size_t digits = 0;
            for (; p < to; ++p, ++digits) {
                const Py_UCS4 c = lower(s[p]);
                const bool letter = hex && c >= 'a' && c <= 'f';
                if (!is_digit(c) && !letter) break;
                value = std::min<uint64_t>(value * (hex ? 16 : 10) + (letter ? c - 'a' + 10 : c - '0'), 1u << 30);
            }
            if (!digits) {
                push('&');
                return i + 1;
            }
            p += p < to && s[p] == ';';
            push_number(static_cast<uint32_t>(value));
            return p;
        }
        std::string name;
        while (p < to && name.size() < 32 && s[p] != '<' && s[p] != '&' && s[p] != '#' && s[p] != ';' && s[p] != ' ' &&
               s[p] != '\t' && s[p] != '\n' && s[p] != '\f') {
            if (s[p] >= 128) break;  // no name goes on here
            name += static_cast<char>(s[p++]);
        }
        if (p < to && s[p] == ';') name += ';';
        for (size_t length = name.size(); length > 1; --length) {
            const auto found = entities->names.find(name.substr(0, length));
            if (found == entities->names.end()) continue;
            for (const Py_UCS4 c : found->second) push(c);
            return i + 1 + length;
        }
        push('&');
        return i + 1;
    }
    void push_number(uint32_t value) {
        const auto mapped = entities->charrefs.find(value);
        if (mapped != entities->charrefs.end()) return push(mapped->second);
        if ((value >= 0xD800 && value <= 0xDFFF) || value > 0x10FFFF) return push(0xFFFD);
        if (!entities->invalid.count(value)) push(value);
    }

    // Adds TeX between dollar signs.
    void formula(Range tex) {
        if (skips_) return;
        while (tex.first < tex.second && is_space(s[tex.first])) ++tex.first;
        while (tex.first < tex.second && is_space(s[tex.second - 1])) --tex.second;
        if (starts(tex.first, "{\\displaystyle") && tex.second - tex.first > 15 && s[tex.second - 1] == '}') {
            tex = {tex.first + 14, tex.second - 1};
            while (tex.first < tex.second && is_space(s[tex.first])) ++tex.first;
            while (tex.first < tex.second && is_space(s[tex.second - 1])) --tex.second;
        }
        if (tex.first >= tex.second) return;
        push('$');
        text(tex.first, tex.second);
        pending_space_ = false;
        push('$');
    }

    void new_line() {
        if (page.text.size() > start_ && page.text.back() != '\n') page.text.push_back('\n');
    }

    bool named_author(int32_t index) const {
        const Node& own = page.nodes[index];
        return own.author || (own.parent >= 0 && page.nodes[own.parent].author);
    }

    // Ends the open block.
    void flush(int32_t node) {
        const bool pre = pres_ > 0;
        size_t begin = start_, end = page.text.size();
        while (end > begin && is_space(page.text[end - 1])) --end;
        if (pre) {  // the first line keeps its indentation
            size_t p = begin;
            while (p < end && is_space(page.text[p])) {
                if (page.text[p] == '\n') begin = p + 1;
                ++p;
            }
        }
        if (end > begin) {
            Block block{static_cast<uint32_t>(begin), static_cast<uint32_t>(end), node};
            block.link_chars = link_chars_;
            block.links = link_count_;
            block.inline0 = static_cast<uint32_t>(inline_start_);
            block.inline1 = static_cast<uint32_t>(page.inline_tokens.size());
            block.after_br = after_br_ && !page.blocks.empty() && page.blocks.back().node == block.node;
            block.pre = pre;
            block.author = author_ || named_author(block.node);
            block.tags = static_cast<uint32_t>(tags_);
            page.blocks.push_back(block);
            after_br_ = false;
            inline_start_ = page.inline_tokens.size();
            author_ = false;
            link_count_ = links_ > 0;
        }
        page.text.resize(end);
        start_ = page.text.size();
        pending_space_ = false;
        link_ended_ = false;
        math_known_ = false;
        link_chars_ = 0;
    }
};

}  // namespace llmill::html
