#include "html_net.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

// Sums run in one order whatever the width of a vector, and setup.py forbids fused multiply-adds: the same page gives the
// same bytes on every machine, so the wider instructions may be used where they exist.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDER __attribute__((target_clones("avx2", "default")))
#else
#define WIDER
#endif

namespace llmill::html {

namespace {

constexpr size_t W = Net::WIDTH;
constexpr float LIMIT = 4, SMALL = 1e-5f;
constexpr double FAR = 30, NEVER = 1e-6;

// The sign of x and a logarithm to base 2 of 1 + |x|, straight between powers of two: exact arithmetic, no libm.
inline float squash(float x) {
    const float above = 1 + std::fabs(x);
    int32_t bits;
    std::memcpy(&bits, &above, sizeof bits);
    const float size = static_cast<float>(bits - 0x3F800000) * (1.0f / (1 << 23));
    return x < 0 ? -size : size;
}

// out += the rows of `x`, `n` numbers each, times the matrix `weights` [n][W]; a row of weights is read once for all.
template <size_t ROWS>
__attribute__((always_inline)) inline void add_products(const float* const (&x)[ROWS], size_t n, const float* weights,
                                                        float* const (&out)[ROWS]) {
    float sum[ROWS][W];
    for (size_t r = 0; r < ROWS; ++r)
        for (size_t c = 0; c < W; ++c) sum[r][c] = out[r][c];
    for (size_t k = 0; k < n; ++k)
        for (size_t r = 0; r < ROWS; ++r)
            for (size_t c = 0; c < W; ++c) sum[r][c] += x[r][k] * weights[k * W + c];
    for (size_t r = 0; r < ROWS; ++r)
        for (size_t c = 0; c < W; ++c) out[r][c] = sum[r][c];
}

WIDER void multiply(const float* x, size_t n, const float* weights, float* out) {
    add_products<1>({x}, n, weights, {out});
}

WIDER void multiply_two(const float* x, const float* y, size_t n, const float* weights, float* out, float* other) {
    add_products<2>({x, y}, n, weights, {out, other});
}

// Means and maxima of each column, one after the other.
std::vector<float> summary(const std::vector<float>& h, size_t rows) {
    std::vector<float> out(2 * W, 0.0f);
    std::copy(h.begin(), h.begin() + W, out.begin() + W);
    for (size_t i = 0; i < rows; ++i)
        for (size_t c = 0; c < W; ++c) {
            out[c] += h[i * W + c];
            out[W + c] = std::max(out[W + c], h[i * W + c]);
        }
    for (size_t c = 0; c < W; ++c) out[c] /= static_cast<float>(rows);
    return out;
}

// LayerNorm, then what is above zero is added to `h`.
void add_normalised(const float* z, const Net::Layer& layer, float* h) {
    float mean = 0, variance = 0;
    for (size_t c = 0; c < W; ++c) mean += z[c];
    mean /= W;
    for (size_t c = 0; c < W; ++c) variance += (z[c] - mean) * (z[c] - mean);
    const float unit = 1 / std::sqrt(variance / W + SMALL);
    for (size_t c = 0; c < W; ++c) {
        const float value = (z[c] - mean) * unit * layer.gain[c] + layer.shift[c];
        if (value > 0) h[c] += value;
    }
}

// z[0] and z[1] += what the blocks `i` and `i + 1`, where there are any, say through `weights`.
void add_blocks(const std::vector<float>& h, std::ptrdiff_t i, const float* weights, float (&z)[2][W]) {
    const std::ptrdiff_t rows = static_cast<std::ptrdiff_t>(h.size() / W);
    const bool first = i >= 0 && i < rows, second = i + 1 >= 0 && i + 1 < rows;
    if (first && second)
        multiply_two(&h[i * W], &h[(i + 1) * W], W, weights, z[0], z[1]);
    else if (first)
        multiply(&h[i * W], W, weights, z[0]);
    else if (second)
        multiply(&h[(i + 1) * W], W, weights, z[1]);
}

void apply(const Net::Layer& layer, std::vector<float>& h, size_t rows) {
    const std::vector<float> page = summary(h, rows);
    std::vector<float> base = layer.bias;  // the same for every block of the page
    multiply(page.data(), 2 * W, layer.page.data(), base.data());
    std::vector<float> out = h;
    const auto gap = static_cast<std::ptrdiff_t>(layer.gap);
    for (size_t i = 0; i < rows; i += 2) {
        float z[2][W];
        for (float(&row)[W] : z) std::copy(base.begin(), base.end(), row);
        const auto at = static_cast<std::ptrdiff_t>(i);
        add_blocks(h, at - gap, layer.conv.data(), z);
        add_blocks(h, at, &layer.conv[W * W], z);
        add_blocks(h, at + gap, &layer.conv[2 * W * W], z);
        for (size_t k = i; k < std::min(i + 2, rows); ++k) add_normalised(z[k - i], layer, &out[k * W]);
    }
    h = std::move(out);
}

// bias + x times `weights` [n][readings], in double precision.
std::vector<double> linear(const float* x, size_t n, const std::vector<float>& weights, const std::vector<float>& bias) {
    std::vector<double> out(bias.begin(), bias.end());
    for (size_t k = 0; k < n; ++k)
        for (size_t r = 0; r < out.size(); ++r) out[r] += static_cast<double>(x[k] * weights[k * out.size() + r]);
    return out;
}

}  // namespace

// How likely each reading of the page is.
std::vector<double> Net::shares(const std::vector<float>& page) const {
    std::vector<double> out = linear(page.data(), 2 * W, gate, gate_bias);
    const double most = *std::max_element(out.begin(), out.end());
    double sum = 0;
    for (double& share : out) sum += share = std::exp(share - most);
    for (double& share : out) share /= sum;
    return out;
}

std::vector<double> Net::scores(const Matrix& x) const {
    if (!x.rows) return {};
    std::vector<float> h(x.rows * W), row(2 * x.columns);
    for (size_t i = 0; i < x.rows; i += 2) {
        const size_t count = std::min<size_t>(2, x.rows - i);
        for (size_t r = 0; r < count; ++r) {
            for (size_t k = 0; k < x.columns; ++k)
                row[r * x.columns + k] =
                    std::min(std::max((squash(x.row(i + r)[k]) - mean[k]) * scale[k], -LIMIT), LIMIT);
            std::copy(input_bias.begin(), input_bias.end(), &h[(i + r) * W]);
        }
        if (count == 2)
            multiply_two(row.data(), &row[x.columns], x.columns, input.data(), &h[i * W], &h[(i + 1) * W]);
        else
            multiply(row.data(), x.columns, input.data(), &h[i * W]);
    }
    for (float& value : h) value = std::max(value, 0.0f);
    for (const Layer& layer : layers) apply(layer, h, x.rows);
    const std::vector<double> share = shares(summary(h, x.rows));
    std::vector<double> out;
    for (size_t i = 0; i < x.rows; ++i) {
        const std::vector<double> reading = linear(&h[i * W], W, output, output_bias);
        double chance = 0;
        for (size_t r = 0; r < reading.size(); ++r)
            chance += share[r] / (1 + std::exp(-std::min(std::max(reading[r], -FAR), FAR)));
        out.push_back(std::log(chance + NEVER) - std::log(1 - chance + NEVER));
    }
    return out;
}

}  // namespace llmill::html
