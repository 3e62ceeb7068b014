#include "html_bind.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

namespace py = pybind11;

namespace llmill::html {

namespace {

py::str substring(const py::str& text, Range range) {
    return py::reinterpret_steal<py::str>(PyUnicode_Substring(text.ptr(), static_cast<Py_ssize_t>(range.first),
                                                              static_cast<Py_ssize_t>(range.second)));
}

py::str string(const Py_UCS4* begin, size_t length) {
    return py::reinterpret_steal<py::str>(
        PyUnicode_FromKindAndData(PyUnicode_4BYTE_KIND, begin, static_cast<Py_ssize_t>(length)));
}

template <class T>
py::array_t<T> array(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

py::array_t<float> array(const Matrix& matrix) {
    return py::array_t<float>({matrix.rows, matrix.columns}, matrix.values.data());
}

Forest forest(const ForestArrays& arrays) {
    const auto& [feature, threshold, left, right, roots, baseline] = arrays;
    Forest made;
    for (py::ssize_t i = 0; i < feature.size(); ++i)
        made.splits.push_back({threshold.at(i), feature.at(i), left.at(i), right.at(i)});
    for (py::ssize_t i = 0; i < roots.size(); ++i) made.roots.push_back(roots.at(i));
    made.baseline = baseline;
    return made;
}

std::vector<float> numbers(const py::dict& arrays, const char* name, size_t size) {
    const auto array = py::cast<py::array_t<float, py::array::c_style | py::array::forcecast>>(arrays[name]);
    if (static_cast<size_t>(array.size()) != size)
        throw py::value_error(std::string("the network's ") + name + " has " + std::to_string(array.size()) +
                              " numbers; expected " + std::to_string(size));
    return {array.data(), array.data() + array.size()};
}

// One layer's part of an array of all layers.
std::vector<float> part(const std::vector<float>& all, size_t layer, size_t size) {
    return {all.begin() + layer * size, all.begin() + (layer + 1) * size};
}

Net network(const py::dict& arrays) {
    constexpr size_t W = Net::WIDTH;
    const auto gaps = py::cast<std::vector<size_t>>(arrays["gaps"]);
    const size_t layers = gaps.size(), inputs = py::len(arrays["mean"]);
    Net made;
    made.mean = numbers(arrays, "mean", inputs);
    made.scale = numbers(arrays, "scale", inputs);
    made.input = numbers(arrays, "input", inputs * W);
    made.input_bias = numbers(arrays, "input_bias", W);
    const size_t readings = py::len(arrays["output_bias"]);
    if (!readings) throw py::value_error("the network has no readings; expected one or more");
    made.output = numbers(arrays, "output", W * readings);
    made.output_bias = numbers(arrays, "output_bias", readings);
    made.gate = numbers(arrays, "gate", 2 * W * readings);
    made.gate_bias = numbers(arrays, "gate_bias", readings);
    const std::vector<float> conv = numbers(arrays, "conv", layers * 3 * W * W);
    const std::vector<float> page = numbers(arrays, "page", layers * 2 * W * W);
    const std::vector<float> bias = numbers(arrays, "bias", layers * W);
    const std::vector<float> gain = numbers(arrays, "gain", layers * W), shift = numbers(arrays, "shift", layers * W);
    for (size_t k = 0; k < layers; ++k)
        made.layers.push_back({gaps[k], part(conv, k, 3 * W * W), part(page, k, 2 * W * W), part(bias, k, W),
                               part(gain, k, W), part(shift, k, W)});
    return made;
}

// Words of a piece of the source, sorted.
std::vector<uint32_t> sorted_words(const py::str& html, Range range) {
    const py::str title = substring(html, range);
    std::vector<Py_UCS4> characters(static_cast<size_t>(PyUnicode_GET_LENGTH(title.ptr())));
    for (size_t i = 0; i < characters.size(); ++i)
        characters[i] = PyUnicode_READ_CHAR(title.ptr(), static_cast<Py_ssize_t>(i));
    std::vector<uint32_t> words = hashed_words(characters.data(), characters.data() + characters.size(), 80);
    std::sort(words.begin(), words.end());
    return words;
}

// All salted words of a block, as `features` sums their weights; `values` says how much each counts.
void block_words(const Page& page, const Analysis& a, size_t i, std::vector<uint32_t>& keys,
                 std::vector<float>& values) {
    const auto add = [&](uint32_t hash, uint32_t salt, double value) {
        keys.push_back(salted(hash, salt));
        values.push_back(static_cast<float>(value));
    };
    const Block& block = page.blocks[i];
    const uint32_t salt = a.stats[i].words <= 8 ? SHORT_WORD : TEXT_WORD;
    for (const uint32_t word : a.words[i]) add(word, salt, 1 / std::sqrt(static_cast<double>(a.words[i].size())));
    if (a.heading[i] >= 0)
        for (const uint32_t word : a.words[a.heading[i]]) add(word, HEADING_WORD, 1);
    for (uint32_t t = block.inline0; t < block.inline1; ++t) add(page.inline_tokens[t], INLINE_NAME, 1);
    const Node& own = page.nodes[block.node];
    add(own.tag, OWN_TAG, 1);
    for (uint32_t t = own.token0; t < own.token1; ++t) add(page.tokens[t], OWN_NAME, 1);
    if (own.parent >= 0) {
        const Node& parent = page.nodes[own.parent];
        add(parent.tag, PARENT_TAG, 1);
        for (uint32_t t = parent.token0; t < parent.token1; ++t) add(page.tokens[t], PARENT_NAME, 1);
    }
    for (int32_t node = block.node; node > 0; node = page.nodes[node].parent) {
        add(page.nodes[node].tag, ANCESTOR_TAG, 1);
        for (uint32_t t = page.nodes[node].token0; t < page.nodes[node].token1; ++t)
            add(page.tokens[t], ANCESTOR_NAME, 1);
    }
}

// What a page states about itself: names, addresses and the like still as in the source.
py::dict stated(const py::str& html, const Page& page) {
    py::list metas, json_ld, times, authors;
    for (const auto& [name, content] : page.metas)
        metas.append(py::make_tuple(substring(html, name), substring(html, content)));
    for (const Range& range : page.json_ld) json_ld.append(substring(html, range));
    for (const Range& range : page.times) times.append(substring(html, range));
    for (const Block& block : page.blocks)
        if (block.author && authors.size() < 5)
            authors.append(string(page.text.data() + block.text0, std::min<size_t>(block.text1 - block.text0, 200)));
    py::dict out;
    out["title"] = substring(html, page.title);
    out["metas"] = metas;
    out["json_ld"] = json_ld;
    out["times"] = times;
    out["authors"] = authors;
    out["cut"] = page.cut;
    return out;
}

}  // namespace

HtmlModel::HtmlModel(py::array_t<uint32_t> keys, py::array_t<float> weights, const ForestArrays& first,
                     const ForestArrays& second, const py::dict& net, double net_share,
                     py::array_t<float> probabilities, double low, size_t max_tags, size_t max_blocks)
    : first_(forest(first)), second_(forest(second)), net_share_(net_share) {
    if (net_share > 0) net_ = network(net);
    for (py::ssize_t i = 0; i < keys.size(); ++i) weights_[keys.at(i)] = weights.at(i);
    for (py::ssize_t i = 0; i < probabilities.size(); ++i) decision_.probabilities.push_back(probabilities.at(i));
    decision_.low = low;
    limits_.tags = max_tags;
    limits_.blocks = max_blocks;
}

std::vector<double> HtmlModel::scores(const Matrix& far) const {
    if (net_share_ <= 0) return second_.scores(far);
    if (far.rows && far.columns != net_.mean.size())
        throw py::value_error("the network has " + std::to_string(net_.mean.size()) + " inputs; blocks have " +
                              std::to_string(far.columns) + " features");
    std::vector<double> out = net_.scores(far);
    if (net_share_ >= 1) return out;
    const std::vector<double> forest = second_.scores(far);
    for (size_t i = 0; i < out.size(); ++i) out[i] = net_share_ * out[i] + (1 - net_share_) * forest[i];
    return out;
}

py::dict HtmlModel::extract(py::str html) const {
    const Page page = parse(html.ptr(), limits_);
    const Analysis a = analyse(page, sorted_words(html, page.title), sorted_words(html, page.description));
    const Matrix near = features(page, a, weights_);
    const Matrix far = context(page, a, near, first_.scores(near));
    const std::vector<bool> keep = decision_.choose(page, a, scores(far));
    const std::vector<Py_UCS4> text = render(page, keep);
    py::dict out = stated(html, page);
    out["text"] = string(text.data(), text.size());
    return out;
}

py::dict HtmlModel::facts(py::str html) const { return stated(html, parse(html.ptr(), limits_)); }

py::dict HtmlModel::blocks(py::str html) const {
    const Page page = parse(html.ptr(), limits_);
    const Analysis a = analyse(page, sorted_words(html, page.title), sorted_words(html, page.description));
    const Matrix near = features(page, a, weights_);
    const Matrix far = context(page, a, near, first_.scores(near));
    const std::vector<double> scores = this->scores(far);
    py::list texts, paths;
    std::vector<double> words;
    std::vector<uint32_t> keys, ends;
    std::vector<float> values;
    std::vector<uint8_t> kept;
    for (size_t i = 0; i < page.blocks.size(); ++i) {
        texts.append(string(page.text.data() + page.blocks[i].text0, page.blocks[i].text1 - page.blocks[i].text0));
        words.push_back(a.stats[i].words);
        block_words(page, a, i, keys, values);
        ends.push_back(static_cast<uint32_t>(keys.size()));
    }
    for (const bool keep : decision_.choose(page, a, scores)) kept.push_back(keep);
    py::dict out;
    out["texts"] = texts;
    out["words"] = array(words);
    out["near"] = array(near);
    out["far"] = array(far);
    out["scores"] = array(scores);
    out["keep"] = array(kept);
    out["keys"] = array(keys);
    out["values"] = array(values);
    out["ends"] = array(ends);
    out["cut"] = page.cut;
    return out;
}

void bind(py::module_& module) {
    module.def("set_entities", [](const py::dict& names, const py::dict& charrefs, const py::object& invalid) {
        set_entities(names.ptr(), charrefs.ptr(), invalid.ptr());
    });
    py::class_<HtmlModel>(module, "HtmlModel")
        .def(py::init<py::array_t<uint32_t>, py::array_t<float>, const ForestArrays&, const ForestArrays&,
                      const py::dict&, double, py::array_t<float>, double, size_t, size_t>())
        .def("extract", &HtmlModel::extract)
        .def("facts", &HtmlModel::facts)
        .def("blocks", &HtmlModel::blocks);
}

}  // namespace llmill::html
