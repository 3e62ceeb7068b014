// Tables of data, told from those that only lay out a page.
#include <algorithm>
#include <unordered_map>

#include "html.hpp"

namespace llmill::html {

namespace {

constexpr int ROWS = 3, COLUMNS = 2;     // at least; columns on average
constexpr uint32_t CELL_LENGTH = 400;    // characters, at most

struct Table {
    int rows = 0, cells = 0, captions = 0;
    bool nested = false;
};

}  // namespace

void mark_data_tables(Page& page) {
    std::vector<int32_t> around(page.nodes.size(), -1);  // the table that each element lies in, or is
    std::unordered_map<int32_t, Table> tables;
    for (size_t i = 0; i < page.nodes.size(); ++i) {
        const Node& node = page.nodes[i];
        const int32_t outer = node.parent >= 0 ? around[node.parent] : -1;
        around[i] = node.tag == TABLE ? static_cast<int32_t>(i) : outer;
        if (outer < 0) continue;
        Table& table = tables[outer];
        table.nested = table.nested || node.tag == TABLE;
        table.rows += node.tag == TR;
        table.cells += node.tag == TD || node.tag == TH;
        table.captions += node.tag == CAPTION;
    }
    for (const auto& [index, table] : tables) {
        Node& node = page.nodes[index];
        const int texts = node.last - node.first;
        node.data_table = !table.nested && table.rows >= ROWS && table.cells >= COLUMNS * table.rows &&
                          table.cells <= 2 * texts && texts <= table.cells + table.captions &&
                          std::all_of(page.blocks.begin() + node.first, page.blocks.begin() + node.last,
                                      [](const Block& block) { return block.text1 - block.text0 <= CELL_LENGTH; });
    }
}

}  // namespace llmill::html
