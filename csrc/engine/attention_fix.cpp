#include "engine/attention_fix.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

#include "engine/norm.h"
#include "engine/project.h"

namespace kcircuits::engine {
namespace {

// One variant's attention with some senders ablated.
class Ablated {
 public:
  Ablated(const Session& session, const Attended& attended, int64_t variant)
      : session_(session),
        graph_(session.graph()),
        attended_(attended),
        layer_(session.model().layers[attended.layer]),
        stream_(attended.stream[variant]) {
    const auto of_variant = [&](const at::Tensor& x) {
      const int64_t rows = x.size(0) / attended.stream.size(0);
      return x.slice(0, variant * rows, (variant + 1) * rows);
    };
    q_ = of_variant(attended.q);
    k_ = of_variant(attended.k);
    pattern_ = of_variant(attended.pattern);
    at_pattern_ = of_variant(attended.at_pattern);
  }

  // Contributions of senders to every query [senders, H] and key [senders, K]; delta [senders, P,
  // D].
  std::pair<at::Tensor, at::Tensor> contributions(const at::Tensor& delta) const {
    const Attention& a = layer_.attention;
    const at::Tensor x = apply_norm(stream_ - delta, layer_.attention_norm);  // [senders, P, D]
    const at::Tensor q = heads(x, Kind::kQuery, a.w_q, a.b_q);
    const at::Tensor k =
        heads(x, Kind::kKey, a.w_k, a.b_k).repeat_interleave(graph_.group_size(), 0);
    const at::Tensor by_query = change(q, repeated(k_, delta.size(0)));
    const at::Tensor by_key = change(repeated(q_, delta.size(0)), k);
    return {by_query, by_key.unflatten(1, {graph_.num_kv_heads, -1}).sum(2)};
  }

 private:
  // [senders, P, D] -> [senders * heads, P, d], rotated
  at::Tensor heads(const at::Tensor& x, Kind kind, const Weight& w,
                   const std::optional<at::Tensor>& b) const {
    return session_.split_heads(attended_.layer, kind, project(x, w, b));
  }

  static at::Tensor repeated(const at::Tensor& x, int64_t senders) {
    return x.unsqueeze(0).expand({senders, -1, -1, -1}).flatten(0, 1);
  }

  // [senders * H, P, d] each -> [senders, H]
  at::Tensor change(const at::Tensor& q, const at::Tensor& k) const {
    const at::Tensor pattern =
        attention_pattern(session_.tokens(attended_.layer), layer_.attention, q, k,
                          sinks_of_heads(layer_.attention, q.size(0) / graph_.num_heads), false);
    const auto by_head = [&](const at::Tensor& x) {  // [senders or 1, H, everything else]
      return x.reshape(
          {-1, graph_.num_heads, session_.tokens().num_prompts * x.size(1) * x.size(2)});
    };
    return ((by_head(pattern_) - by_head(pattern)) * by_head(at_pattern_)).sum(-1);
  }

  const Session& session_;
  const Graph& graph_;
  const Attended& attended_;
  const Layer& layer_;
  at::Tensor stream_, q_, k_, pattern_, at_pattern_;
};

int64_t senders_at_a_time(const Session& session, int64_t memory) {
  const Graph& g = session.graph();
  const Tokens& tokens = session.tokens();
  const int64_t longest = tokens.max_length;
  const int64_t numbers = tokens.num_tokens * (4 * session.model().width() +
                                               8 * g.num_heads * session.model().head_dim) +
                          4 * g.num_heads * tokens.num_prompts * longest * longest;
  const auto element = static_cast<int64_t>(c10::elementSize(session.model().dtype()));
  return std::max<int64_t>(1, memory / (numbers * element));
}

}  // namespace

void add_attention_contributions(const Session& session, const Attended& attended, int64_t memory,
                                 const at::Tensor& sums) {
  const Graph& g = session.graph();
  TORCH_CHECK_VALUE(
      !session.model().layers[attended.layer].attention.joint_norms,
      "the query/key correction is not defined where one norm spans all heads' queries");
  const int64_t query = g.query(attended.layer, 0);
  const int64_t key = g.key(attended.layer, 0);
  const int64_t num_senders = g.num_senders_of(query);
  const int64_t chunk = senders_at_a_time(session, memory);
  std::vector<Ablated> variants;
  for (int64_t v = 0; v < attended.stream.size(0); ++v) variants.emplace_back(session, attended, v);
  session.senders().each_block(num_senders, [&](int64_t block, const at::Tensor& delta) {
    for (int64_t first = 0; first < delta.size(0); first += chunk) {
      const int64_t end = std::min(first + chunk, delta.size(0));
      const at::Tensor rows = sums.slice(0, block + first, block + end);
      for (const Ablated& ablated : variants) {
        const auto [queries, keys] =
            ablated.contributions(delta.slice(0, first, end).to(attended.stream.device()));
        rows.slice(1, query, query + g.num_heads).add_(queries.to(sums.device()));
        rows.slice(1, key, key + g.num_kv_heads).add_(keys.to(sums.device()));
      }
    }
  });
}

}  // namespace kcircuits::engine
