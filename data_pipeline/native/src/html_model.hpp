// Forests of regression trees that score the blocks of a page, and the text of the blocks chosen.
#pragma once

#include "html_choice.hpp"

namespace llmill::html {

struct Forest {
    struct Split {
        float threshold;   // of a leaf: its value
        int32_t feature;   // -1: a leaf
        int32_t left, right;
    };
    std::vector<Split> splits;
    std::vector<int32_t> roots;
    double baseline = 0;

    std::vector<double> scores(const Matrix& x) const;
};

std::vector<Py_UCS4> render(const Page& page, const std::vector<bool>& keep);

}  // namespace llmill::html
