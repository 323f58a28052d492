// Window attention of two streams whose logits are mixed by a gate across heads, for the processor, in inference.
//
// GLF-CR (Xu et al. 2022, doi 10.1016/j.isprsjprs.2022.08.002, section 3.2). For one query at a time the logits of all
// heads of both streams lie in the first cache; in torch they pass through memory a dozen times.

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "lanes.h"

namespace cloud_removal {
namespace {

using L = Lanes<float>;
using V = L::Vector;
typedef int32_t Whole __attribute__((vector_size(kVectorBytes)));

constexpr float kNoKey = -1e30f;  // logit of the columns that fill up the last vector

// e^x to about one rounding, for x in -87..87 and beyond it as at its ends: 2^n times a polynomial of the rest.
inline V exponential(V x) {
  const V low = V{} - 87.0f, high = V{} + 87.0f;
  x = x < low ? low : x;
  x = x > high ? high : x;
  const V shifted = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23 rounds to whole numbers
  const V n = shifted - 12582912.0f;
  const V r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  V p = r * 1.98756915e-4f + 1.39819995e-3f;
  p = p * r + 8.33345205e-3f;
  p = p * r + 4.16657962e-2f;
  p = p * r + 1.66666657e-1f;
  p = p * r + 5.00000012e-1f;
  p = p * (r * r) + r + 1.0f;
  const Whole power = (__builtin_convertvector(n, Whole) + 127) << 23;
  V scale;
  std::memcpy(&scale, &power, sizeof(V));
  return p * scale;
}

// Halves are added to each other, so that the additions do not wait for one another.
inline float sum_of(V x) {
  float part[L::kCount];
  L::store(part, x);
  for (int half = L::kCount / 2; half > 0; half /= 2) {
    for (int n = 0; n < half; ++n) part[n] += part[n + half];
  }
  return part[0];
}

inline float most_of(V x) {
  float part[L::kCount];
  L::store(part, x);
  for (int half = L::kCount / 2; half > 0; half /= 2) {
    for (int n = 0; n < half; ++n) part[n] = part[n] < part[n + half] ? part[n + half] : part[n];
  }
  return part[0];
}

struct Attention {
  const float* gate_weight;
  const float* gate_bias;
  const float* position;  // [heads][tokens][tokens]
  int64_t heads, size, tokens;
  int64_t columns = (tokens + L::kCount - 1) / L::kCount * L::kCount;

  int64_t width() const { return 3 * heads * size; }

  // keys or values of a window as [head][number][column], zero beyond the last token
  void transpose(const float* qkv, int which, float* to) const {
    const float* from = qkv + which * heads * size;
    for (int64_t row = 0; row < heads * size; ++row) {
      for (int64_t token = 0; token < columns; ++token) {
        to[row * columns + token] = token < tokens ? from[token * width() + row] : 0.0f;
      }
    }
  }

  // logits [head][column] of query i
  void logits(const float* query, const float* keys, const float* mask, int64_t i, float* to) const {
    const float scale = 1.0f / std::sqrt(static_cast<float>(size));
    for (int64_t h = 0; h < heads; ++h) {
      float* row = to + h * columns;
      for (int64_t c = 0; c < columns; c += L::kCount) {
        V sum = {};
        for (int64_t e = 0; e < size; ++e) {
          sum += L::load(keys + (h * size + e) * columns + c) * (query[h * size + e] * scale);
        }
        L::store(row + c, sum);
      }
      const float* place = position + (h * tokens + i) * tokens;
      for (int64_t c = 0; c < tokens; ++c) row[c] += place[c] + (mask ? mask[i * tokens + c] : 0.0f);
      std::fill(row + tokens, row + columns, kNoKey);
    }
  }

  // optical += (radar - optical) * sigmoid(gate(radar - optical)), for all heads of a query
  void mix(float* optical, const float* radar) const {
    for (int64_t c = 0; c < columns; c += L::kCount) {
      V mixed[kMostHeads];
      for (int64_t h = 0; h < heads; ++h) {
        V gate = V{} + gate_bias[h];
        for (int64_t other = 0; other < heads; ++other) {
          const V difference = L::load(radar + other * columns + c) - L::load(optical + other * columns + c);
          gate += difference * gate_weight[h * heads + other];
        }
        const V difference = L::load(radar + h * columns + c) - L::load(optical + h * columns + c);
        mixed[h] = L::load(optical + h * columns + c) + difference / (1.0f + exponential(-gate));
      }
      for (int64_t h = 0; h < heads; ++h) L::store(optical + h * columns + c, mixed[h]);
    }
  }

  // softmax over the columns, times the values; [head][number]
  void attend(float* logits, const float* values, float* out) const {
    for (int64_t h = 0; h < heads; ++h) {
      float* row = logits + h * columns;
      V largest = L::load(row);
      for (int64_t c = L::kCount; c < columns; c += L::kCount) {
        const V next = L::load(row + c);
        largest = largest < next ? next : largest;
      }
      const float most = most_of(largest);
      V total = {};
      for (int64_t c = 0; c < columns; c += L::kCount) {
        const V weight = exponential(L::load(row + c) - most);
        total += weight;
        L::store(row + c, weight);
      }
      const float factor = 1.0f / sum_of(total);
      for (int64_t e = 0; e < size; ++e) {
        V sum = {};
        for (int64_t c = 0; c < columns; c += L::kCount) {
          sum += L::load(row + c) * L::load(values + (h * size + e) * columns + c);
        }
        out[h * size + e] = sum_of(sum) * factor;
      }
    }
  }

  static constexpr int kMostHeads = 16;
};

void check(const at::Tensor& x, at::IntArrayRef sizes, const char* name) {
  TORCH_CHECK(x.scalar_type() == at::kFloat, "This attention computes in float32.");
  TORCH_CHECK(x.sizes() == sizes, name, " has the shape ", x.sizes(), "; ", sizes, " is expected.");
}

std::tuple<at::Tensor, at::Tensor> attention(const at::Tensor& qkv_in, const at::Tensor& qkv_sar_in,
                                             const at::Tensor& position_in, const std::optional<at::Tensor>& mask_in,
                                             const at::Tensor& gate_weight_in, const at::Tensor& gate_bias_in,
                                             int64_t heads) {
  TORCH_CHECK(qkv_in.dim() == 3 && heads >= 1 && heads <= Attention::kMostHeads && qkv_in.size(2) % (3 * heads) == 0,
              "Queries, keys and values of shape ", qkv_in.sizes(), " do not fit ", heads, " heads.");
  const int64_t windows = qkv_in.size(0), tokens = qkv_in.size(1), width = qkv_in.size(2) / 3;
  check(qkv_in, qkv_in.sizes(), "qkv");
  check(qkv_sar_in, qkv_in.sizes(), "qkv of the radar");
  check(position_in, {heads, tokens, tokens}, "The position bias");
  check(gate_weight_in, {heads, heads}, "The gate's weight");
  check(gate_bias_in, {heads}, "The gate's bias");
  const int64_t masks = mask_in ? mask_in->size(0) : 1;
  if (mask_in) check(*mask_in, {masks, tokens, tokens}, "The mask");
  TORCH_CHECK(masks >= 1 && windows % masks == 0, "There are ", windows, " windows and ", masks, " masks.");
  const at::Tensor qkv = qkv_in.contiguous(), qkv_sar = qkv_sar_in.contiguous(), position = position_in.contiguous();
  const at::Tensor gate_weight = gate_weight_in.contiguous(), gate_bias = gate_bias_in.contiguous();
  const at::Tensor mask = mask_in ? mask_in->contiguous() : at::Tensor();
  at::Tensor out = at::empty({windows, tokens, width}, qkv.options());
  at::Tensor out_sar = at::empty_like(out);
  const Attention a{gate_weight.const_data_ptr<float>(), gate_bias.const_data_ptr<float>(),
                    position.const_data_ptr<float>(), heads, width / heads, tokens};
  const float* streams[2] = {qkv.const_data_ptr<float>(), qkv_sar.const_data_ptr<float>()};
  float* results[2] = {out.data_ptr<float>(), out_sar.data_ptr<float>()};
  const float* masked = mask_in ? mask.const_data_ptr<float>() : nullptr;
  at::parallel_for(0, windows, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> keys[2], values[2], logits[2];
    for (int s = 0; s < 2; ++s) {
      keys[s].resize(width * a.columns);
      values[s].resize(width * a.columns);
      logits[s].resize(heads * a.columns);
    }
    for (int64_t window = begin; window < end; ++window) {
      const float* hidden = masked ? masked + window % masks * tokens * tokens : nullptr;
      for (int s = 0; s < 2; ++s) {
        const float* own = streams[s] + window * tokens * a.width();
        a.transpose(own, 1, keys[s].data());
        a.transpose(own, 2, values[s].data());
      }
      for (int64_t i = 0; i < tokens; ++i) {
        for (int s = 0; s < 2; ++s) {
          const float* query = streams[s] + (window * tokens + i) * a.width();
          a.logits(query, keys[s].data(), hidden, i, logits[s].data());
        }
        a.mix(logits[0].data(), logits[1].data());
        for (int s = 0; s < 2; ++s) {
          a.attend(logits[s].data(), values[s].data(), results[s] + (window * tokens + i) * width);
        }
      }
    }
  });
  return {out, out_sar};
}

}  // namespace

TORCH_LIBRARY_IMPL(cloud_removal, CPU, m) { m.impl("gated_attention", &attention); }

}  // namespace cloud_removal
