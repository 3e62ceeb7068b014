#include "html_model.hpp"

#include <algorithm>
#include <initializer_list>

namespace llmill::html {

std::vector<double> Forest::scores(const Matrix& x) const {
    std::vector<double> out(x.rows, baseline);
    for (const int32_t root : roots) {
        for (size_t i = 0; i < x.rows; ++i) {
            const float* row = x.row(i);
            const Split* split = &splits[root];
            while (split->feature >= 0)
                split = &splits[row[split->feature] <= split->threshold ? split->left : split->right];
            out[i] += static_cast<double>(split->threshold);
        }
    }
    return out;
}

namespace {

// The list item, table cell and table row that a block stands in; -1 where in none.
struct Place {
    int32_t item = -1, list = -1, cell = -1, row = -1, table = -1, term = -1;
};

Place place_of(const Page& page, int32_t node) {
    Place place;
    for (; node > 0; node = page.nodes[node].parent) {
        const Tag tag = page.nodes[node].tag;
        if (tag == LI && place.item < 0) place.item = node;
        if (tag == DD || tag == DT) place.term = place.term < 0 ? page.nodes[node].parent : place.term;
        if (tag == UL || tag == OL) place.list = node;  // the outermost
        if ((tag == TD || tag == TH) && place.cell < 0 && place.row < 0) place.cell = node;
        if (tag == TR && place.row < 0) place.row = node;
        if (tag == TABLE && place.table < 0) place.table = node;
        if (tag == TABLE) break;
    }
    return place;
}

bool simple_cell(const Page& page, int32_t cell) {
    return cell >= 0 && page.nodes[cell].last - page.nodes[cell].first == 1;
}

// Adds `mark` for each cell of a row among the elements `first` to `last`, without the latter.
void mark_cells(const Page& page, int32_t row, int32_t first, int32_t last, std::initializer_list<Py_UCS4> mark,
                std::vector<Py_UCS4>& out) {
    for (int32_t k = first; k < last; ++k)
        if (page.nodes[k].parent == row && (page.nodes[k].tag == TD || page.nodes[k].tag == TH))
            out.insert(out.end(), mark);
}

void separate(const Page& page, const Block& block, const Place& last, const Place& place, bool data,
              std::vector<Py_UCS4>& out) {
    const bool same_row = place.row >= 0 && place.row == last.row && place.cell != last.cell;
    if (same_row && simple_cell(page, place.cell) && simple_cell(page, last.cell)) {
        if (data) mark_cells(page, place.row, last.cell + 1, place.cell, {' ', '|'}, out);  // empty cells between
        out.insert(out.end(), {' ', '|', ' '});
        return;
    }
    out.push_back('\n');
    const bool same_list = place.list >= 0 && place.list == last.list && place.table == last.table;
    const bool same_terms = place.term >= 0 && place.term == last.term;
    const bool rows = place.table >= 0 && place.table == last.table && simple_cell(page, place.cell);
    if (!block.after_br && !same_list && !same_terms && !rows) out.push_back('\n');
}

void bullet(const Page& page, int32_t item, std::vector<Py_UCS4>& out) {
    const Node& node = page.nodes[item];
    for (int k = 1; k < std::min(node.list_depth, 6); ++k) out.insert(out.end(), {' ', ' '});
    if (node.ordinal >= 0) {
        for (const char c : std::to_string(node.ordinal)) out.push_back(static_cast<Py_UCS4>(c));
        out.push_back('.');
    } else {
        out.push_back('-');
    }
    out.push_back(' ');
}

}  // namespace

std::vector<Py_UCS4> render(const Page& page, const std::vector<bool>& keep) {
    std::vector<Py_UCS4> out;
    Place last;
    int32_t last_item = -1;
    for (size_t i = 0; i < page.blocks.size(); ++i) {
        if (!keep[i]) continue;
        const Block& block = page.blocks[i];
        const Place place = place_of(page, block.node);
        const bool data = place.table >= 0 && page.nodes[place.table].data_table;
        if (!out.empty()) separate(page, block, last, place, data, out);
        if (data && place.row >= 0 && place.row != last.row && simple_cell(page, place.cell))
            mark_cells(page, place.row, place.row, place.cell, {'|', ' '}, out);  // empty cells before
        if (place.item >= 0 && place.item != last_item && page.nodes[place.item].first == static_cast<int32_t>(i))
            bullet(page, place.item, out);
        last_item = place.item;
        out.insert(out.end(), page.text.begin() + block.text0, page.text.begin() + block.text1);
        last = place;
    }
    return out;
}

}  // namespace llmill::html
