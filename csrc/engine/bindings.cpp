// The engine's classes for Python. The model specification is read once, by attribute, from
// kcircuits.model.spec's dataclasses.
#include "engine/bindings.h"

#include <ATen/core/grad_mode.h>
#include <pybind11/functional.h>
#include <pybind11/stl.h>
#include <torch/extension.h>

#include "cpu/gemm.h"
#include "engine/acdc.h"
#include "engine/attribution.h"
#include "engine/exact.h"
#include "engine/flow.h"
#include "engine/masked_run.h"
#include "engine/plain_run.h"
#include "engine/session.h"
#include "engine/soft_run.h"
#include "ops/arguments.h"
#include "profile.h"

namespace kcircuits::engine {
namespace {

namespace py = pybind11;

// What of a call of the engine is nothing else.
struct Call {
  profile::Scope scope{profile::Op::kOther, profile::kNoLayer};
};

std::optional<at::Tensor> optional_tensor(const py::object& owner, const char* name) {
  const py::object value = owner.attr(name);
  return value.is_none() ? std::nullopt : std::optional(value.cast<at::Tensor>());
}

// A tensor, or a kcircuits.model.quantised.QuantisedWeight.
Weight read_weight(const py::object& weight) {
  if (!py::hasattr(weight, "codes")) return weight.cast<at::Tensor>();
  return {Codes{weight.attr("codes").cast<at::Tensor>(), weight.attr("scale").cast<at::Tensor>(),
                optional_tensor(weight, "offset"), optional_tensor(weight, "block_scale"),
                optional_tensor(weight, "block_offset"), weight.attr("zero").cast<int64_t>(),
                weight.attr("group").cast<int64_t>()},
          weight.attr("columns").cast<int64_t>()};
}

std::optional<Weight> optional_weight(const py::object& owner, const char* name) {
  const py::object value = owner.attr(name);
  return value.is_none() ? std::nullopt : std::optional(read_weight(value));
}

double number_or_zero(const py::object& owner, const char* name) {
  const py::object value = owner.attr(name);
  return value.is_none() ? 0 : value.cast<double>();
}

Norm read_norm(const py::object& norm) {
  return {parse_norm(norm.attr("kind").cast<std::string>()), norm.attr("eps").cast<double>(),
          optional_tensor(norm, "weight"), optional_tensor(norm, "bias")};
}

std::optional<Norm> optional_norm(const py::object& owner, const char* name) {
  const py::object value = owner.attr(name);
  return value.is_none() ? std::nullopt : std::optional(read_norm(value));
}

Attention read_attention(const py::object& a) {
  Attention attention{read_weight(a.attr("w_q")),         read_weight(a.attr("w_k")),
                      read_weight(a.attr("w_v")),         read_weight(a.attr("w_o")),
                      optional_tensor(a, "b_q"),          optional_tensor(a, "b_k"),
                      optional_tensor(a, "b_v"),          optional_tensor(a, "b_o"),
                      a.attr("scale").cast<double>(),     std::nullopt,
                      optional_norm(a, "q_norm"),         optional_norm(a, "k_norm"),
                      a.attr("joint_norms").cast<bool>(), std::nullopt,
                      number_or_zero(a, "soft_cap"),      optional_tensor(a, "sinks")};
  if (const py::object rotary = a.attr("rotary"); !rotary.is_none()) {
    attention.rotary = {rotary.attr("inv_freq").cast<at::Tensor>(),
                        rotary.attr("scale").cast<double>()};
  }
  if (const py::object window = a.attr("window"); !window.is_none())
    attention.window = window.cast<int64_t>();
  return attention;
}

Activation read_activation(const std::string& name) {
  if (name == "silu") return Activation::kSilu;
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "quick_gelu") return Activation::kQuickGelu;
  TORCH_CHECK_VALUE(name == "relu",
                    "activation: expected silu, gelu, gelu_tanh, quick_gelu or relu, got ", name);
  return Activation::kRelu;
}

Mlp read_mlp(const py::object& m) {
  return {read_activation(m.attr("activation").cast<std::string>()),
          read_weight(m.attr("w_up")),
          read_weight(m.attr("w_down")),
          optional_weight(m, "w_gate"),
          optional_tensor(m, "b_up"),
          optional_tensor(m, "b_gate"),
          optional_tensor(m, "b_down"),
          number_or_zero(m, "limit"),
          m.attr("up_offset").cast<double>()};
}

Experts read_experts(const py::object& e) {
  Experts block{e.attr("router").cast<at::Tensor>(),
                optional_tensor(e, "router_bias"),
                e.attr("top_k").cast<int64_t>(),
                e.attr("normalise").cast<bool>(),
                {}};
  for (const py::handle expert : e.attr("experts"))
    block.experts.push_back(read_mlp(py::reinterpret_borrow<py::object>(expert)));
  return block;
}

Layer read_layer(const py::handle& layer) {
  const auto part = [&](const char* name) { return layer.attr(name).cast<py::object>(); };
  const py::object owner = py::reinterpret_borrow<py::object>(layer);
  Layer out{read_norm(part("attention_norm")),
            read_attention(part("attention")),
            optional_norm(owner, "attention_post_norm"),
            read_norm(part("mlp_norm")),
            std::nullopt,
            std::nullopt,
            optional_norm(owner, "mlp_post_norm")};
  const py::object mlp = part("mlp");
  if (py::hasattr(mlp, "experts")) {
    out.experts = read_experts(mlp);
  } else {
    out.mlp = read_mlp(mlp);
  }
  if (out.attention_post_norm) {
    TORCH_CHECK_VALUE(out.attention_post_norm->kind == NormKind::kRmsNorm &&
                          !out.attention_post_norm->bias && !out.attention.b_o,
                      "a norm behind the attention must be an RMSNorm without bias, and the "
                      "attention's output must have no bias");
  }
  return out;
}

Layout read_layout(const std::string& name) {
  if (name == "memory") return Layout::kMemory;
  if (name == "bfloat16") return Layout::kBfloat16;
  if (name == "host") return Layout::kHost;
  TORCH_CHECK_VALUE(name == "recomputed",
                    "layout: expected memory, bfloat16, host or recomputed, got ", name);
  return Layout::kRecomputed;
}

// A table of kcircuits.graph.Graph, int64 [rows, columns].
template <typename Row>
std::vector<Row> read_table(const py::object& graph, const char* name) {
  return graph.attr(name).attr("tolist")().cast<std::vector<Row>>();
}

Model read_model(const py::object& spec) {
  const py::object graph = spec.attr("graph");
  Model model{{read_table<Graph::NodeRow>(graph, "node_table"),
               read_table<Graph::ReceiverRow>(graph, "receiver_table"),
               graph.attr("parallel").cast<bool>()},
              spec.attr("head_dim").cast<int64_t>(),
              read_weight(spec.attr("embedding")),
              spec.attr("embedding_scale").cast<double>(),
              optional_tensor(spec, "positions"),
              spec.attr("ablate_positions").cast<bool>(),
              {},
              read_norm(spec.attr("final_norm")),
              read_weight(spec.attr("unembedding")),
              optional_tensor(spec, "unembedding_bias"),
              number_or_zero(spec, "logit_soft_cap")};
  for (const py::handle layer : spec.attr("layers")) model.layers.push_back(read_layer(layer));
  return model;
}

const char* name_of(profile::Op op) {
  switch (op) {
    case profile::Op::kEdgeMix:
      return "edge mix";
    case profile::Op::kAttention:
      return "attention";
    case profile::Op::kMlp:
      return "MLP";
    case profile::Op::kVocabulary:
      return "vocabulary";
    case profile::Op::kEdgeScores:
      return "edge scores";
    case profile::Op::kGradients:
      return "gradients";
    default:
      return "other";
  }
}

// For long work without the GIL: hears Ctrl-C, and tells the caller how far it is.
std::function<void(int64_t, int64_t)> counter(const py::object& progress) {
  return [&progress](int64_t done, int64_t total) {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(done, total);
  };
}

AttributionOptions attribution_options(const std::string& rule, bool fix_attention, int64_t memory,
                                       const py::object& progress) {
  TORCH_CHECK_VALUE(rule == "gradient" || rule == "relevance",
                    "rule: expected gradient or relevance, got ", rule);
  return {rule == "gradient" ? Rule::kGradient : Rule::kRelevance, fix_attention, memory,
          counter(progress)};
}

at::Tensor run_path_scores(const Session& session, const std::vector<double>& points,
                           const std::string& rule, bool fix_attention, int64_t memory,
                           const py::object& progress) {
  const auto options = attribution_options(rule, fix_attention, memory, progress);
  const py::gil_scoped_release no_gil;
  const Call call;
  return path_scores(session, points, options);
}

at::Tensor run_activation_scores(const Session& session, int64_t steps, bool fix_attention,
                                 int64_t memory, const py::object& progress) {
  const auto options = attribution_options("gradient", fix_attention, memory, progress);
  const py::gil_scoped_release no_gil;
  const Call call;
  return activation_scores(session, steps, options);
}

at::Tensor run_exact_scores(const Session& session, const at::Tensor& wanted, int64_t memory,
                            int64_t chunk_limit, const py::object& progress) {
  const ExactOptions options = {memory, chunk_limit, counter(progress)};
  const py::gil_scoped_release no_gil;
  const Call call;
  return exact_scores(session, wanted, options);
}

// Without the GIL, but Ctrl-C and the caller's progress function are heard after every chunk.
AcdcResult run_acdc(const Session& session, double threshold, bool absolute, int64_t memory,
                    int64_t chunk_limit, const py::object& progress, const py::object& due,
                    const py::object& keep, const std::optional<Snapshot>& from) {
  AcdcWatch watch;
  watch.progress = [&](const AcdcProgress& done) {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    if (!progress.is_none()) progress(done);
  };
  if (!due.is_none()) {
    watch.due = [&] {
      const py::gil_scoped_acquire gil;
      return due().cast<bool>();
    };
    watch.keep = [&](const Snapshot& snapshot) {
      const py::gil_scoped_acquire gil;
      keep(snapshot);
    };
  }
  const py::gil_scoped_release no_gil;
  const Call call;
  return acdc(session, {threshold, absolute, memory, chunk_limit}, watch, from);
}

}  // namespace

void bind(py::module_& m) {
  py::class_<Session>(m, "Session")
      .def(py::init([](const py::object& spec, const at::Tensor& clean, const at::Tensor& lengths,
                       const at::Tensor& answers, const std::optional<at::Tensor>& wrong,
                       const std::optional<at::Tensor>& corrupt,
                       const std::optional<at::Tensor>& mean, const std::string& metric,
                       const std::string& layout) {
             Model model = read_model(spec);
             const py::gil_scoped_release no_gil;
             const c10::NoGradGuard no_grad;
             const Call call;
             return std::make_unique<Session>(
                 std::move(model), SessionOptions{clean, lengths, answers, wrong, corrupt, mean,
                                                  metric, read_layout(layout)});
           }),
           py::arg("spec"), py::arg("clean"), py::arg("lengths"), py::arg("answers"),
           py::arg("wrong"), py::arg("corrupt"), py::arg("mean"), py::arg("metric"),
           py::arg("layout"))
      .def("bytes", &Session::bytes)
      .def("full_rows", &Session::full_rows)
      .def("sender_sums", &Session::sender_sums, py::arg("by_position"),
           py::call_guard<py::gil_scoped_release, Call>())
      .def("path_scores", &run_path_scores, py::arg("points"), py::arg("rule"),
           py::arg("fix_attention"), py::arg("memory"), py::arg("progress"))
      .def("activation_scores", &run_activation_scores, py::arg("steps"), py::arg("fix_attention"),
           py::arg("memory"), py::arg("progress"))
      .def("exact_scores", &run_exact_scores, py::arg("wanted"), py::arg("memory"),
           py::arg("chunk_limit"), py::arg("progress"))
      .def(
          "soft_run",
          [](const Session& session, const at::Tensor& weights) {
            const SoftRun run = soft_run(session, weights);
            return std::make_pair(run.metric, run.gradient);
          },
          py::arg("weights"), py::call_guard<py::gil_scoped_release, Call>())
      .def("flow_scores", &flow_scores, py::call_guard<py::gil_scoped_release, Call>())
      .def(
          "metric",
          [](const Session& session, const at::Tensor& rows) {
            const c10::NoGradGuard no_grad;
            return session.metric()(rows);
          },
          py::arg("rows"), py::call_guard<py::gil_scoped_release, Call>())
      .def(
          "masked_run",
          [](const Session& session, const at::Tensor& masks, int64_t memory) {
            const c10::NoGradGuard no_grad;
            return masked_run(session, masks, memory);
          },
          py::arg("masks"), py::arg("memory"), py::call_guard<py::gil_scoped_release, Call>())
      .def(
          "masked_streams",
          [](const Session& session, const at::Tensor& masks, const at::Tensor& rows,
             int64_t memory) {
            const c10::NoGradGuard no_grad;
            return masked_streams(session, masks, rows, memory);
          },
          py::arg("masks"), py::arg("rows"), py::arg("memory"),
          py::call_guard<py::gil_scoped_release, Call>())
      .def(
          "sender_outputs",
          [](const Session& session) {
            const c10::NoGradGuard no_grad;
            return sender_outputs(session);
          },
          py::call_guard<py::gil_scoped_release, Call>())
      .def(
          "attention",
          [](const Session& session, int64_t layer) {
            const c10::NoGradGuard no_grad;
            const AttentionReading read = attention_reading(session, layer);
            return std::make_pair(read.pattern, read.values);
          },
          py::arg("layer"), py::call_guard<py::gil_scoped_release, Call>())
      .def("acdc", &run_acdc, py::arg("threshold"), py::arg("absolute"), py::arg("memory"),
           py::arg("chunk_limit"), py::arg("progress"), py::arg("due") = py::none(),
           py::arg("keep") = py::none(), py::arg("resume") = py::none());

  m.def(
      "plan_runs",
      [](const py::object& spec, const std::string& layout, int64_t tokens, int64_t prompts,
         int64_t longest, int64_t count, int64_t memory, bool beside_another) {
        return plan_runs(read_model(spec), read_layout(layout), tokens, prompts, longest, count,
                         memory, beside_another);
      },
      py::arg("spec"), py::arg("layout"), py::arg("tokens"), py::arg("prompts"), py::arg("longest"),
      py::arg("count"), py::arg("memory"), py::arg("beside_another") = false,
      "How runs with gradients are taken at a time, and what they take.");
  py::class_<RunPlan>(m, "RunPlan")
      .def_readonly("at_a_time", &RunPlan::at_a_time)
      .def_readonly("layers_together", &RunPlan::layers_together)
      .def_property_readonly("keeps_insides",
                             [](const RunPlan& plan) { return plan.insides == Insides::kKept; })
      .def_readonly("bytes", &RunPlan::bytes);
  m.def(
      "dequantise",
      [](const py::object& weight) {
        const Weight read = read_weight(weight);
        const py::gil_scoped_release no_gil;
        return read.widened(at::kFloat);
      },
      py::arg("weight"), "The float32 matrix that a QuantisedWeight stands for.");
  m.def(
      "cpu_linear",
      [](const at::Tensor& x, const py::object& w, const std::optional<at::Tensor>& bias) {
        return cpu::linear(x, read_weight(w), bias);
      },
      py::arg("x"), py::arg("w"), py::arg("bias") = py::none(),
      "The engine's float32 product x wᵀ + bias, for its tests and benchmarks.");
  m.def(
      "cpu_gated_linear",
      [](const at::Tensor& x, const py::object& w, const std::optional<at::Tensor>& bias,
         const py::object& w_gate, const std::optional<at::Tensor>& bias_gate,
         const std::string& activation) {
        const auto out = cpu::gated_linear(x, read_weight(w), bias, read_weight(w_gate), bias_gate,
                                           read_activation(activation));
        TORCH_CHECK_VALUE(out, "cpu_gated_linear: not for these tensors");
        return *out;
      },
      py::arg("x"), py::arg("w"), py::arg("bias"), py::arg("w_gate"), py::arg("bias_gate"),
      py::arg("activation"), "act(x w_gateᵀ + bias_gate) (x wᵀ + bias), for tests and benchmarks.");

  py::class_<profile::Row>(m, "ProfileRow")
      .def_property_readonly("op", [](const profile::Row& row) { return name_of(row.op); })
      .def_readonly("products", &profile::Row::products)
      .def_readonly("layer", &profile::Row::layer)
      .def_readonly("rows", &profile::Row::rows)
      .def_readonly("calls", &profile::Row::calls)
      .def_readonly("seconds", &profile::Row::seconds)
      .def_readonly("flop", &profile::Row::flop)
      .def_readonly("bytes", &profile::Row::bytes);
  m.def("start_profile", &profile::start, "Record what this thread's calls of the engine do.");
  m.def("stop_profile", &profile::stop, "What was recorded, as a list of ProfileRow.");

  py::class_<AcdcProgress>(m, "AcdcProgress")
      .def_readonly("layer", &AcdcProgress::layer)
      .def_readonly("edges_settled", &AcdcProgress::edges_settled)
      .def_readonly("edges_removed", &AcdcProgress::edges_removed)
      .def_readonly("tests", &AcdcProgress::tests);

  py::class_<AcdcEdge>(m, "AcdcEdge")
      .def_readonly("sender", &AcdcEdge::sender)
      .def_readonly("receiver", &AcdcEdge::receiver)
      .def_readonly("effect", &AcdcEdge::effect);

  py::class_<AcdcResult>(m, "AcdcResult")
      .def_readonly("edges", &AcdcResult::edges)
      .def_readonly("full_metric", &AcdcResult::full_metric)
      .def_readonly("circuit_metric", &AcdcResult::circuit_metric)
      .def_readonly("tests", &AcdcResult::tests)
      .def_readonly("evaluations", &AcdcResult::evaluations)
      .def_readonly("chunks", &AcdcResult::chunks);
}

}  // namespace kcircuits::engine
