#include "html_features.hpp"

#include <algorithm>

#include "text.hpp"

namespace llmill::html {

namespace {

bool has(Py_UCS4 c, uint8_t flag) { return ((*classes)[c] & flag) != 0; }
// Characters that stand for a syllable or a word: ideographs, kana, hangul.
bool is_wide(Py_UCS4 c) {
    return (c >= 0x3040 && c <= 0x30FF) || (c >= 0x3400 && c <= 0x9FFF) || (c >= 0xAC00 && c <= 0xD7A3);
}
bool is_sentence_mark(Py_UCS4 c) {
    return c == '.' || c == '!' || c == '?' || c == 0x3002 || c == 0xFF01 || c == 0xFF1F || c == 0x61F || c == 0x964 ||
           c == 0x2026 || c == 0x37E;
}
bool is_comma(Py_UCS4 c) { return c == ',' || c == ';' || c == 0xFF0C || c == 0x3001 || c == 0x60C || c == 0xFF1B; }
bool closes(Py_UCS4 c) {
    return c == '"' || c == '\'' || c == ')' || c == 0x201D || c == 0x2019 || c == 0xBB || c == 0x300D || c == 0xFF09;
}
bool is_money(Py_UCS4 c) { return c == '$' || c == 0x20AC || c == 0xA3 || c == 0xA5 || c == 0x20B9; }
Py_UCS4 fold(Py_UCS4 c) { return c < 128 ? (c >= 'A' && c <= 'Z' ? c + 32 : c) : Py_UNICODE_TOLOWER(c); }

constexpr size_t BLOCK_WORDS = 120;
constexpr double SHORT = 8;  // words

TextStats text_stats(const Py_UCS4* begin, const Py_UCS4* end) {
    TextStats t;
    t.hash = FNV;
    bool inside = false;
    for (const Py_UCS4* p = begin; p != end; ++p) {
        const Py_UCS4 c = *p;
        t.length += 1;
        if (has(c, SPACE)) {
            inside = false;
            continue;
        }
        t.solid += 1;
        if (has(c, WORD)) {
            t.hash = fnv(t.hash, fold(c));
            if (is_wide(c)) {
                t.wides += 1;
                t.length += 2;
                t.words += 0.5;
                inside = false;
            } else {
                t.words += !inside;
                inside = true;
            }
            t.digits += c >= '0' && c <= '9';
            t.uppers += Py_UNICODE_ISUPPER(c) != 0;
            continue;
        }
        inside = false;
        t.sentences += is_sentence_mark(c);
        t.commas += is_comma(c);
        t.pipes += c == '|' || c == 0xBB || c == 0x203A || c == 0xB7 || c == '/' || c == '>';
        t.copyright = t.copyright || c == 0xA9;
        t.money = t.money || is_money(c);
        t.at = t.at || c == '@';
    }
    const Py_UCS4* last = end - 1;
    while (last > begin && (closes(*last) || has(*last, SPACE))) --last;
    t.ends_sentence = is_sentence_mark(*last);
    t.ends_colon = *last == ':' || *last == 0xFF1A;
    t.starts_upper = Py_UNICODE_ISUPPER(*begin) != 0;
    t.lower_start = Py_UNICODE_ISLOWER(*begin) != 0;
    t.starts_digit = *begin >= '0' && *begin <= '9';
    return t;
}

bool is_heading(Tag tag) { return tag >= H1 && tag <= H6; }

// Sums over blocks, so that any run of blocks is summed in two look-ups.
struct Sums {
    std::vector<double> length, link, solid, words, sentences, prose, words_score;
    explicit Sums(size_t n)
        : length(n + 1), link(n + 1), solid(n + 1), words(n + 1), sentences(n + 1), prose(n + 1), words_score(n + 1) {}
};

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

// Weighted words of class names: of an element itself and summed over what it lies in.
struct NameScores {
    double own = 0, parent = 0, ancestors = 0, lowest = 0, highest = 0;
};

class Lookup {
   public:
    explicit Lookup(const Weights& weights) : weights_(weights) {}
    double operator()(uint32_t hash, uint32_t salt) const {
        const auto found = weights_.find(salted(hash, salt));
        return found == weights_.end() ? 0.0 : static_cast<double>(found->second);
    }

   private:
    const Weights& weights_;
};

std::vector<NameScores> name_scores(const Page& page, const Lookup& weight) {
    std::vector<NameScores> out(page.nodes.size());
    for (size_t i = 1; i < page.nodes.size(); ++i) {
        const Node& node = page.nodes[i];
        const NameScores& up = out[node.parent];
        NameScores& made = out[i];
        made.own = weight(node.tag, OWN_TAG);
        double as_ancestor = weight(node.tag, ANCESTOR_TAG);
        for (uint32_t t = node.token0; t < node.token1; ++t) {
            made.own += weight(page.tokens[t], OWN_NAME);
            as_ancestor += weight(page.tokens[t], ANCESTOR_NAME);
        }
        const Node& parent = page.nodes[node.parent];
        made.parent = weight(parent.tag, PARENT_TAG);
        for (uint32_t t = parent.token0; t < parent.token1; ++t) made.parent += weight(page.tokens[t], PARENT_NAME);
        made.ancestors = up.ancestors + as_ancestor;
        made.lowest = std::min(up.lowest, as_ancestor);
        made.highest = std::max(up.highest, as_ancestor);
    }
    return out;
}

struct Group {
    double count = 0, length = 0, link = 0, solid = 0, longest = 0, sentences = 0;
};

uint32_t group_key(const Page& page, const Block& block, bool by_class) {
    const Node& node = page.nodes[block.node];
    if (!by_class) return node.path_hash;
    const uint32_t parent = node.parent >= 0 ? page.nodes[node.parent].class_hash : 0;
    return fnv(fnv(node.class_hash, parent), node.tag);
}

// What the whole page is like.
struct PageStats {
    double blocks, length, link, solid, words, in_p, long_p, headings, articles, items, cells, wide, sentences, main,
        scripts;
    int32_t h1 = -1;       // its first block in an h1
    int32_t best = 0;      // the element whose children hold most sentences
    double best_score = 0;
    int32_t core[3] = {0, 0, 0};  // the deepest elements with 70, 50 and 30 per cent of the prose
    std::vector<double> scores;   // of each element, as Readability computes them
};

PageStats page_stats(const Page& page, const Analysis& a, const Sums& sums) {
    const size_t n = page.blocks.size();
    PageStats s{};
    s.h1 = -1;
    s.blocks = static_cast<double>(n);
    s.length = sums.length[n];
    s.link = sums.link[n];
    s.solid = sums.solid[n];
    s.words = sums.words[n];
    s.sentences = sums.sentences[n];
    s.scripts = static_cast<double>(page.scripts);
    s.scores.assign(page.nodes.size(), 0.0);
    for (size_t i = 0; i < n; ++i) {
        const Block& block = page.blocks[i];
        const Node& node = page.nodes[block.node];
        const TextStats& t = a.stats[i];
        if (node.tag == P) s.in_p += t.length;
        if (node.tag == P && t.length >= 80) s.long_p += 1;
        if (is_heading(node.tag)) s.headings += 1;
        if (node.tag == H1 && s.h1 < 0) s.h1 = static_cast<int32_t>(i);
        s.wide += t.wides;
        if (t.length < 25) continue;
        const double score =
            (1 + t.commas + std::min(t.length / 100, 3.0)) * (1 - ratio(block.link_chars, t.solid + 1));
        if (node.parent >= 0) s.scores[node.parent] += score;
        if (node.parent >= 0 && page.nodes[node.parent].parent >= 0)
            s.scores[page.nodes[node.parent].parent] += score / 2;
    }
    for (size_t i = 0; i < page.nodes.size(); ++i) {
        const Node& node = page.nodes[i];
        s.articles += node.tag == ARTICLE;
        s.main += node.tag == MAIN;
        s.items += node.tag == LI;
        s.cells += node.tag == TD;
        if (s.scores[i] > s.best_score) {
            s.best_score = s.scores[i];
            s.best = static_cast<int32_t>(i);
        }
        const double held = ratio(sums.prose[node.last] - sums.prose[node.first], sums.prose[n]);
        const double wanted[3] = {0.7, 0.5, 0.3};
        for (int k = 0; k < 3; ++k)
            if (held >= wanted[k] && node.depth >= page.nodes[s.core[k]].depth) s.core[k] = static_cast<int32_t>(i);
    }
    return s;
}

// Depth of the innermost element that holds both blocks.
int common_depth(const Page& page, int32_t a, int32_t b) {
    while (a != b) {
        if (page.nodes[a].depth >= page.nodes[b].depth) {
            a = page.nodes[a].parent;
        } else {
            b = page.nodes[b].parent;
        }
    }
    return page.nodes[a].depth;
}

int32_t ancestor(const Page& page, int32_t node, int levels) {
    for (; levels > 0 && page.nodes[node].parent >= 0; --levels) node = page.nodes[node].parent;
    return node;
}

Sums make_sums(const Page& page, const Analysis& a, const std::vector<double>& word_scores) {
    const size_t n = page.blocks.size();
    Sums s(n);
    for (size_t i = 0; i < n; ++i) {
        const TextStats& t = a.stats[i];
        const double link = page.blocks[i].link_chars;
        s.length[i + 1] = s.length[i] + t.length;
        s.link[i + 1] = s.link[i] + link;
        s.solid[i + 1] = s.solid[i] + t.solid;
        s.words[i + 1] = s.words[i] + t.words;
        s.sentences[i + 1] = s.sentences[i] + t.sentences;
        s.prose[i + 1] = s.prose[i] + std::max(0.0, t.length - 2 * link);
        s.words_score[i + 1] = s.words_score[i] + word_scores[i];
    }
    return s;
}

}  // namespace

std::vector<uint32_t> hashed_words(const Py_UCS4* begin, const Py_UCS4* end, size_t limit, bool same_digits) {
    std::vector<uint32_t> out;
    uint32_t hash = FNV;
    bool inside = false;
    for (const Py_UCS4* p = begin; p != end && out.size() < limit; ++p) {
        const Py_UCS4 c = *p;
        if (!has(c, WORD) || is_wide(c)) {
            if (inside) out.push_back(hash);
            inside = false;
            hash = FNV;
            if (is_wide(c) && out.size() < limit) out.push_back(fnv(FNV, c));
            continue;
        }
        hash = fnv(hash, same_digits && c >= '0' && c <= '9' ? '0' : fold(c));
        inside = true;
    }
    if (inside && out.size() < limit) out.push_back(hash);
    return out;
}

namespace {
// Share of `words` in the sorted `known`.
double shared(const std::vector<uint32_t>& words, const std::vector<uint32_t>& known) {
    double found = 0;
    for (const uint32_t word : words) found += std::binary_search(known.begin(), known.end(), word);
    return ratio(found, static_cast<double>(words.size()));
}
}  // namespace

Analysis analyse(const Page& page, const std::vector<uint32_t>& title, const std::vector<uint32_t>& description) {
    Analysis a;
    const size_t n = page.blocks.size();
    a.stats.reserve(n);
    a.words.reserve(n);
    a.heading.reserve(n);
    int32_t heading = -1;
    for (size_t i = 0; i < n; ++i) {
        const Block& block = page.blocks[i];
        const Py_UCS4* begin = page.text.data() + block.text0;
        const Py_UCS4* end = page.text.data() + block.text1;
        a.stats.push_back(text_stats(begin, end));
        a.words.push_back(hashed_words(begin, end, BLOCK_WORDS));
        a.stats[i].title_share = shared(a.words[i], title);
        a.stats[i].description_share = shared(a.words[i], description);
        a.heading.push_back(heading);
        if (is_heading(page.nodes[block.node].tag)) heading = static_cast<int32_t>(i);
    }
    return a;
}

Matrix features(const Page& page, const Analysis& a, const Weights& weights) {
    const size_t n = page.blocks.size();
    const Lookup weight(weights);
    const std::vector<NameScores> names = name_scores(page, weight);
    std::vector<double> text_score(n), heading_score(n), inline_score(n);
    for (size_t i = 0; i < n; ++i) {
        const uint32_t salt = a.stats[i].words <= SHORT ? SHORT_WORD : TEXT_WORD;
        for (const uint32_t word : a.words[i]) text_score[i] += weight(word, salt);
        if (is_heading(page.nodes[page.blocks[i].node].tag))
            for (const uint32_t word : a.words[i]) heading_score[i] += weight(word, HEADING_WORD);
        for (uint32_t t = page.blocks[i].inline0; t < page.blocks[i].inline1; ++t)
            inline_score[i] += weight(page.inline_tokens[t], INLINE_NAME);
    }
    const Sums sums = make_sums(page, a, text_score);
    const PageStats whole = page_stats(page, a, sums);
    std::unordered_map<uint32_t, Group> by_path, by_class;
    std::unordered_map<uint32_t, uint32_t> copies, seen;
    for (size_t i = 0; i < n; ++i) {
        const TextStats& t = a.stats[i];
        ++copies[t.hash];
        for (Group* group :
             {&by_path[group_key(page, page.blocks[i], false)], &by_class[group_key(page, page.blocks[i], true)]}) {
            group->count += 1;
            group->length += t.length;
            group->link += page.blocks[i].link_chars;
            group->solid += t.solid;
            group->sentences += t.sentences;
            group->longest = std::max(group->longest, t.length);
        }
    }
    Matrix out;
    out.rows = n;
    std::vector<float>& values = out.values;
    values.reserve(n * 300);
    const auto add = [&](double value) { values.push_back(static_cast<float>(value)); };
    const auto span = [&](const std::vector<double>& sum, int32_t first, int32_t last) {
        return sum[last] - sum[first];
    };
    for (size_t i = 0; i < n; ++i) {
        const Block& block = page.blocks[i];
        const TextStats& t = a.stats[i];
        const Node& node = page.nodes[block.node];
        const NameScores& name = names[block.node];
        const int32_t at = static_cast<int32_t>(i);
        const double word_count = static_cast<double>(a.words[i].size());
        // the block itself
        add(t.length); add(t.words); add(ratio(block.link_chars, t.solid)); add(block.links);
        add(ratio(t.sentences, t.words + 1)); add(ratio(t.commas, t.words + 1)); add(t.sentences); add(t.commas);
        add(ratio(t.digits, t.solid));
        add(ratio(t.uppers, t.solid));
        add(ratio(t.solid, t.words + 1));
        add(ratio(t.pipes, t.words + 1));
        add(t.ends_sentence); add(t.ends_colon); add(t.starts_upper); add(t.lower_start); add(t.starts_digit);
        add(t.copyright);
        add(t.money);
        add(t.at);
        add(t.title_share);
        add(t.description_share);
        add(copies[t.hash]);
        add(seen[t.hash]++);
        add(block.pre); add(block.after_br); add(block.author);
        // words, and names of classes
        add(text_score[i]); add(ratio(text_score[i], word_count)); add(name.own); add(name.parent); add(name.ancestors);
        add(name.lowest); add(name.highest); add(inline_score[i]);
        const int32_t heading = a.heading[i];
        add(heading < 0 ? 0 : heading_score[heading]);
        add(heading < 0 ? -1 : page.nodes[page.blocks[heading].node].tag - H1);
        add(heading < 0 ? -1 : at - heading); add(heading < 0 ? -1 : sums.length[i] - sums.length[heading]);
        add(heading_score[i]);
        // where it stands
        add(node.tag); add(page.nodes[ancestor(page, block.node, 1)].tag); add(node.depth); add(node.list_depth);
        for (int bit = 0; bit < ANCESTORS; ++bit) add((node.ancestors >> bit) & 1);
        for (int bit = 0; bit < NAME_GROUPS; ++bit) add((node.names >> bit) & 1);
        add(ratio(at, whole.blocks)); add(ratio(sums.length[i], whole.length)); add(at); add(n - i);
        add(whole.h1 < 0 ? -9999 : at - whole.h1); add(whole.h1 < 0 ? -9999 : sums.length[i] - sums.length[whole.h1]);
        add(i ? block.tags - page.blocks[i - 1].tags : block.tags);
        add(i + 1 < n ? page.blocks[i + 1].tags - block.tags : 0);
        // what it lies in
        for (const int level : {0, 1, 2, 3, 5}) {
            const int32_t index = ancestor(page, block.node, level);
            const Node& up = page.nodes[index];
            const double length = span(sums.length, up.first, up.last), count = up.last - up.first;
            add(ratio(length, whole.length));
            add(ratio(span(sums.link, up.first, up.last), span(sums.solid, up.first, up.last)));
            add(count);
            add(ratio(length, count));
            add(ratio(span(sums.sentences, up.first, up.last), span(sums.words, up.first, up.last)));
            add(ratio(span(sums.words_score, up.first, up.last), span(sums.words, up.first, up.last)));
            add(ratio(whole.scores[index], whole.best_score));
        }
        const Node& best = page.nodes[whole.best];
        add(best.first <= at && at < best.last); add(at - best.first); add(best.last - at);
        for (const int32_t core_index : whole.core) {
            const Node& core = page.nodes[core_index];
            add(core.first <= at && at < core.last ? common_depth(page, block.node, core_index) : -1);
            add(at - core.first); add(core.last - at); add(core.depth);
        }
        // others of its kind
        for (const Group* group : {&by_path[group_key(page, block, false)], &by_class[group_key(page, block, true)]}) {
            add(group->count); add(ratio(group->length, group->count)); add(ratio(group->link, group->solid));
            add(ratio(group->length, whole.length)); add(group->longest); add(ratio(group->sentences, group->count));
        }
        // its neighbours
        for (const int offset : {-3, -2, -1, 1, 2, 3}) {
            const int64_t j = static_cast<int64_t>(i) + offset;
            if (j < 0 || j >= static_cast<int64_t>(n)) {
                for (int k = 0; k < 7; ++k) add(-1);
                continue;
            }
            const TextStats& u = a.stats[j];
            add(u.length); add(ratio(page.blocks[j].link_chars, u.solid)); add(ratio(u.sentences, u.words + 1));
            add(ratio(text_score[j], static_cast<double>(a.words[j].size())));
            add(names[page.blocks[j].node].ancestors);
            add(page.nodes[page.blocks[j].node].tag);
            add(common_depth(page, block.node, page.blocks[j].node) - node.depth);
        }
        for (const int radius : {3, 8, 20}) {
            const int32_t first = std::max(0, at - radius), last = std::min(static_cast<int32_t>(n), at + radius + 1);
            add(span(sums.prose, first, last)); add(ratio(span(sums.link, first, last), span(sums.solid, first, last)));
            add(ratio(span(sums.words_score, first, last), span(sums.words, first, last)));
        }
        // the page
        add(whole.blocks); add(whole.length); add(ratio(whole.link, whole.solid)); add(ratio(whole.in_p, whole.length));
        add(whole.long_p);
        add(whole.headings);
        add(whole.articles);
        add(whole.main);
        add(whole.items);
        add(whole.cells);
        add(ratio(whole.wide, whole.solid));
        add(ratio(whole.sentences, whole.words));
        add(ratio(whole.length, whole.blocks));
        add(ratio(sums.words_score[n], whole.words)); add(ratio(sums.prose[n], whole.length)); add(whole.scripts);
        add(page.og_type);
        for (int bit = 0; bit < SCHEMA_TYPES; ++bit) add((page.schema >> bit) & 1);
        add(static_cast<double>(page.forms)); add(static_cast<double>(page.json_ld.size()));
    }
    out.columns = n ? values.size() / n : 0;
    return out;
}

Matrix context(const Page& page, const Analysis& a, const Matrix& first, const std::vector<double>& scores) {
    const size_t n = page.blocks.size();
    std::vector<double> mass(n + 1), weighted(n + 1), positive(n + 1), plain(n + 1);
    double highest = n ? scores[0] : 0;
    std::unordered_map<uint32_t, std::pair<double, double>> by_path, by_class;
    for (size_t i = 0; i < n; ++i) {
        const double length = a.stats[i].length;
        mass[i + 1] = mass[i] + length;
        weighted[i + 1] = weighted[i] + length * scores[i];
        positive[i + 1] = positive[i] + (scores[i] > 0 ? length : 0);
        plain[i + 1] = plain[i] + scores[i];
        highest = std::max(highest, scores[i]);
        auto& path = by_path[group_key(page, page.blocks[i], false)];
        path.first += scores[i];
        path.second += 1;
        auto& kind = by_class[group_key(page, page.blocks[i], true)];
        kind.first += scores[i];
        kind.second += 1;
    }
    Matrix out;
    out.rows = n;
    out.values.reserve(n * (first.columns + 50));
    const auto add = [&](double value) { out.values.push_back(static_cast<float>(value)); };
    const auto mean = [&](int32_t from, int32_t to) {
        return ratio(weighted[to] - weighted[from], mass[to] - mass[from]);
    };
    for (size_t i = 0; i < n; ++i) {
        const Block& block = page.blocks[i];
        const int32_t at = static_cast<int32_t>(i), end = static_cast<int32_t>(n);
        out.values.insert(out.values.end(), first.row(i), first.row(i) + first.columns);
        add(scores[i]);
        for (const int offset : {-4, -3, -2, -1, 1, 2, 3, 4}) {
            const int64_t j = static_cast<int64_t>(i) + offset;
            add(j < 0 || j >= static_cast<int64_t>(n) ? -9 : scores[j]);
        }
        for (const int radius : {2, 5, 12, 30}) {
            const int32_t from = std::max(0, at - radius), to = std::min(end, at + radius + 1);
            add(mean(from, to)); add(ratio(plain[to] - plain[from], to - from));
        }
        add(mean(0, at)); add(mean(at + 1, end)); add(positive[i]); add(positive[n] - positive[i]);
        for (const int level : {0, 1, 2, 3, 5}) {
            const Node& up = page.nodes[ancestor(page, block.node, level)];
            add(mean(up.first, up.last)); add(ratio(plain[up.last] - plain[up.first], up.last - up.first));
            add(ratio(positive[up.last] - positive[up.first], mass[up.last] - mass[up.first]));
        }
        const auto& path = by_path[group_key(page, block, false)];
        const auto& kind = by_class[group_key(page, block, true)];
        add(path.first / path.second); add(kind.first / kind.second);
        add(a.heading[i] < 0 ? -9 : scores[a.heading[i]]);
        add(highest); add(ratio(positive[n], mass[n])); add(mean(0, end));
    }
    out.columns = n ? out.values.size() / n : 0;
    return out;
}

}  // namespace llmill::html
