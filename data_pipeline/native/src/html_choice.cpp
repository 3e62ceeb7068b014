#include "html_choice.hpp"

#include <algorithm>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

namespace llmill::html {

namespace {

constexpr size_t LONG = 12, RUN = 4, REPEAT_WORDS = 2000;
constexpr double REPEATED = 0.8;  // share of its runs of words that makes a long block a copy
constexpr size_t WHOLE = 60;      // words of a block that may hold a whole article once more
constexpr double RETOLD = 0.7;    // share of its runs of words that likely blocks of at most half its length tell
// Share of the words in long blocks that are alike three times or more, in a page that repeats itself.
constexpr double MONOTONE = 0.6;

// Gives all blocks of a table of data one score, the mean weighed by words: half a table says nothing.
void even_tables(const Page& page, const Analysis& a, std::vector<double>& scores) {
    for (const Node& node : page.nodes) {
        if (!node.data_table) continue;
        double weight = 0, total = 0;
        for (int32_t k = node.first; k < node.last; ++k) {
            weight += a.stats[k].words + 1;
            total += scores[k] * (a.stats[k].words + 1);
        }
        for (int32_t k = node.first; k < node.last; ++k) scores[k] = total / weight;
    }
}

// The words of a block and its runs of four.
struct Runs {
    size_t words = 0;
    std::vector<uint32_t> hashes;
};

Runs runs_of(const Page& page, size_t block) {
    const Block& b = page.blocks[block];
    const std::vector<uint32_t> words =
        hashed_words(page.text.data() + b.text0, page.text.data() + b.text1, REPEAT_WORDS, false);
    Runs out{words.size(), {}};
    for (size_t i = 0; i + RUN <= words.size(); ++i) {
        uint32_t hash = FNV;
        for (size_t k = 0; k < RUN; ++k) hash = fnv(hash, words[i + k]);
        out.hashes.push_back(hash);
    }
    return out;
}

// What the better blocks of a page have said.
class Said {
   public:
    // True if the text says little new; otherwise, or where `allowed` says so, it counts as said.
    bool repeats(const Runs& runs, bool allowed) {
        double known = 0;
        for (const uint32_t run : runs.hashes) known += runs_.count(run) > 0;
        if (!allowed && runs.words >= LONG && known >= REPEATED * static_cast<double>(runs.hashes.size())) return true;
        runs_.insert(runs.hashes.begin(), runs.hashes.end());
        return false;
    }

   private:
    std::unordered_set<uint32_t> runs_;
};

// Which candidates, best first, hold in one block what likely ones tell in pieces: an article without its paragraphs.
std::vector<bool> wholes(const std::vector<size_t>& candidates, const std::vector<Runs>& runs,
                         const std::vector<double>& scores) {
    std::vector<bool> out(candidates.size(), false);
    if (std::none_of(runs.begin(), runs.end(), [](const Runs& r) { return r.words >= WHOLE; })) return out;
    std::unordered_map<uint32_t, size_t> shortest;  // words of the shortest likely block with a run
    for (size_t k = 0; k < candidates.size() && scores[candidates[k]] >= 0; ++k)
        for (const uint32_t run : runs[k].hashes) {
            size_t& words = shortest.try_emplace(run, runs[k].words).first->second;
            words = std::min(words, runs[k].words);
        }
    for (size_t k = 0; k < candidates.size(); ++k) {
        if (runs[k].words < WHOLE) continue;
        double told = 0;
        for (const uint32_t run : runs[k].hashes) {
            const auto found = shortest.find(run);
            told += found != shortest.end() && 2 * found->second <= runs[k].words;
        }
        out[k] = told >= RETOLD * static_cast<double>(runs[k].hashes.size());
    }
    return out;
}

// Of a page most of which is the same few long blocks again and again, nothing goes: later filters must see it so.
bool repeats_itself(const Analysis& a, const std::vector<size_t>& candidates,
                    std::unordered_map<uint32_t, size_t>& copies) {
    double all = 0, alike = 0;
    for (const TextStats& t : a.stats) ++copies[t.hash];
    for (const size_t i : candidates) {
        all += a.stats[i].words;
        if (copies[a.stats[i].hash] >= 3 && a.stats[i].words >= LONG) alike += a.stats[i].words;
    }
    return alike > MONOTONE * all;
}

}  // namespace

double Decision::probability(double score) const {
    const double place = (std::min(std::max(score, -8.0), 8.0) + 8.0) * 4.0;
    const size_t below = std::min(static_cast<size_t>(place), probabilities.size() - 2);
    const double share = place - static_cast<double>(below);
    return static_cast<double>(probabilities[below]) * (1 - share) +
           static_cast<double>(probabilities[below + 1]) * share;
}

std::vector<bool> Decision::choose(const Page& page, const Analysis& analysis,
                                   std::vector<double> scores) const {
    even_tables(page, analysis, scores);
    const size_t n = scores.size();
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return scores[a] > scores[b]; });
    order.erase(std::find_if(order.begin(), order.end(), [&](size_t i) { return probability(scores[i]) < low; }),
                order.end());
    std::unordered_map<uint32_t, size_t> copies;
    const bool monotone = repeats_itself(analysis, order, copies);
    std::vector<Runs> runs;
    for (const size_t i : order) runs.push_back(runs_of(page, i));
    const std::vector<bool> whole = monotone ? std::vector<bool>(order.size(), false) : wholes(order, runs, scores);
    Said said;
    std::vector<bool> copy(n, false);
    std::vector<size_t> ranked;  // candidates, best first
    for (size_t k = 0; k < order.size(); ++k) {
        const size_t i = order[k];
        copy[i] = whole[k] || said.repeats(runs[k], monotone && copies[analysis.stats[i].hash] >= 3);
        if (!copy[i]) ranked.push_back(i);
    }
    double wanted = 0, hits = 0, taken = 0, best = -1;
    for (size_t i = 0; i < n; ++i)
        if (!copy[i]) wanted += probability(scores[i]) * analysis.stats[i].words;
    size_t count = 0;
    for (size_t k = 0; k < ranked.size(); ++k) {
        const size_t i = ranked[k];
        taken += analysis.stats[i].words;
        hits += probability(scores[i]) * analysis.stats[i].words;
        const double f1 = taken + wanted > 0 ? 2 * hits / (taken + wanted) : 0;
        if (f1 > best) {
            best = f1;
            count = k + 1;
        }
    }
    std::vector<bool> keep(n, false);
    for (size_t k = 0; k < count; ++k) keep[ranked[k]] = true;
    return keep;
}

}  // namespace llmill::html
