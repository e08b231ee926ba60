// Matrix products by cublasLt, with epilogues of our own where it has none (engine/cuda/epilogue.h).
//
// cublasLt's matrices are column-major, so that a row-major c is its transpose there: c' = op(b)' op(a)', where the
// operands' stored forms are transposes already. A product of a shape is always computed by the same algorithm, the
// first one that cublasLt's heuristic proposed, which keeps its bits the same from run to run. To ask it takes longer
// than a small product, and packed batches have a number of rows of their own nearly each: it is asked for numbers of
// rows in steps.
#include <algorithm>
#include <bit>
#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "engine/backend.h"
#include "engine/cuda/branch.h"
#include "engine/cuda/cublas_lt.h"
#include "engine/cuda/epilogue.h"
#include "engine/cuda/memory.h"
#include "engine/cuda/rules.h"
#include "engine/cuda/runtime.h"
#include "engine/cuda/tables.h"
#include "engine/fail.h"

namespace crisp::CRISP_CUDA_NAMESPACE {
namespace {

constexpr size_t most_workspace = cuda_rules::most_product_workspace;
constexpr size_t most_plans = 10000;
constexpr int64_t most_products = 65535;  // of a batch, in one call: a limit of grids

template <auto Destroy>
struct Release {
  template <class Object>
  void operator()(Object* object) const {
    (cublas_lt().*Destroy)(object);
  }
};
template <class Handle, auto Destroy>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Release<Destroy>>;
using Description = Owned<cublasLtMatmulDesc_t, &CublasLt::desc_destroy>;
using Layout = Owned<cublasLtMatrixLayout_t, &CublasLt::layout_destroy>;
using Preference = Owned<cublasLtMatmulPreference_t, &CublasLt::preference_destroy>;

template <class Set, class Handle, class Attribute, class Value>
void set(Set function, Handle object, Attribute attribute, const Value& value) {
  check(function(object, attribute, &value, sizeof value), "describing a product");
}

// A matrix as it is stored, row-major.
struct Stored {
  int64_t rows, cols, leading, stride;
  uint32_t alignment;  // the largest power of two that the address is a multiple of, at most 256
  auto operator<=>(const Stored&) const = default;
};

// Of all matrices of a batch, `stride` bytes apart.
uint32_t alignment_of(const void* p, int64_t stride = 0) {
  const uintptr_t address = reinterpret_cast<uintptr_t>(p) | static_cast<uintptr_t>(stride) | 256;
  return static_cast<uint32_t>(address & (~address + 1));
}

// All that the choice of an algorithm depends on.
struct Problem {
  cudaDataType_t type;
  cublasComputeType_t compute;
  bool trans_a, trans_b;
  int64_t batch;
  Stored a, b, c;
  cublasLtEpilogue_t epilogue;  // that would spare a launch
  uint32_t vector_alignment;    // of what it reads or writes; 0: there is none
  auto operator<=>(const Problem&) const = default;
};

// The same with as many rows of a batch as the largest number that takes the same algorithm: a power of two up to 64,
// then steps of 64. (The tiles of a GPU have 64 rows or more.)
Problem in_steps(const Problem& exact) {
  Problem p = exact;
  const auto up = [](int64_t n) {
    return n > 64 ? divide_up(n, 64) * 64 : static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(n)));
  };
  if (p.batch > 1) return p;  // whose strides depend on them
  if (!p.trans_a) {
    p.a.rows = p.c.rows = up(p.a.rows);
  } else if (!p.trans_b) {
    p.a.rows = p.b.rows = up(p.a.rows);
  }
  return p;
}

// What cublasLt's heuristic answers.
struct Choice {
  cublasLtMatmulAlgo_t algorithm;
  size_t workspace;  // bytes
};

struct Plan {
  Description description;
  Layout a, b, c;
  Choice choice;
  cublasLtEpilogue_t epilogue;  // that cublasLt has an algorithm for
};

Layout describe(const Stored& m, const Problem& problem) {
  const CublasLt& lt = cublas_lt();
  cublasLtMatrixLayout_t made = nullptr;
  check(lt.layout_create(&made, problem.type, static_cast<uint64_t>(m.cols), static_cast<uint64_t>(m.rows), m.leading),
        "describing a matrix");
  Layout layout(made);
  if (problem.batch > 1) {
    set(lt.layout_set, made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(problem.batch));
    set(lt.layout_set, made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, m.stride);
  }
  return layout;
}

// cublasLt's functions with the state that a process needs of them. Thread-safe.
class Products {
 public:
  static Products& the() {
    static Products& products = *new Products;
    return products;
  }

  // c = op(a) op(b) + beta c. Returns the epilogue that was computed with it.
  template <class T>
  cublasLtEpilogue_t multiply(const Problem& problem, const GemmCall<T>& g) {
    const std::lock_guard lock(mutex_);
    const bool is_beside = cuda_rules::runs_beside(g);
    const void* const vector = g.bias ? g.bias : g.a_sums;
    const Plan& plan = plan_for(problem, vector);
    // Before the fork, since more memory may have to be asked for.
    void* const workspace = (is_beside ? workspace_beside_ : workspace_).with(plan.choice.workspace);
    if (!is_beside) return multiply(plan, vector, g, stream(), workspace);
    const Fork fork;
    return multiply(plan, vector, g, fork.stream(), workspace);
  }

 private:
  Products() { check(cublas_lt().create(&handle_), "starting"); }

  // One a queue. The kernels before are done with the old one when its memory is used again.
  struct Workspace {
    void* memory = nullptr;
    size_t bytes = 0;

    void* with(size_t wanted) {
      if (wanted > bytes) {
        bytes = 0;
        Memory::the().free(std::exchange(memory, nullptr));
        memory = Memory::the().allocate(wanted);
        bytes = wanted;
      }
      return memory;
    }
  };

  const Plan& plan_for(const Problem& problem, const void* vector) {
    if (plans_.size() >= most_plans) plans_.clear();
    if (choices_.size() >= most_plans) choices_.clear();
    const auto known = plans_.find(problem);
    return known != plans_.end() ? known->second : plans_.emplace(problem, make_plan(problem, vector)).first->second;
  }

  template <class T>
  cublasLtEpilogue_t multiply(const Plan& plan, const void* vector, const GemmCall<T>& g, cudaStream_t queue,
                              void* workspace) {
    const CublasLt& lt = cublas_lt();
    if (plan.epilogue != CUBLASLT_EPILOGUE_DEFAULT)
      set(lt.desc_set, plan.description.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector);
    const T alpha = 1, beta = static_cast<T>(g.beta);
    const Command command;
    check(lt.matmul(handle_, plan.description.get(), &alpha, g.b, plan.b.get(), g.a, plan.a.get(), &beta, g.c,
                    plan.c.get(), g.c, plan.c.get(), &plan.choice.algorithm, workspace, plan.choice.workspace, queue),
          "a matrix product");
    return plan.epilogue;
  }

  Plan make_plan(const Problem& problem, const void* vector) {
    // Some of cublasLt's kernels trust the vector to be aligned so.
    const bool with_epilogue = problem.epilogue != CUBLASLT_EPILOGUE_DEFAULT && problem.vector_alignment >= 16;
    for (const cublasLtEpilogue_t epilogue :
         {with_epilogue ? problem.epilogue : CUBLASLT_EPILOGUE_DEFAULT, CUBLASLT_EPILOGUE_DEFAULT}) {
      Plan plan = describe_all(problem, epilogue, vector);
      if (const std::optional<Choice> choice = choose(problem, plan, vector)) {
        plan.choice = *choice;
        return plan;
      }
    }
    fail("cublasLt has no algorithm for a product [{}, {}] x [{}, {}]", problem.a.rows, problem.a.cols, problem.b.rows,
         problem.b.cols);
  }

  static Plan describe_all(const Problem& problem, cublasLtEpilogue_t epilogue, const void* vector) {
    const CublasLt& lt = cublas_lt();
    cublasLtMatmulDesc_t made = nullptr;
    check(lt.desc_create(&made, problem.compute, problem.type), "describing a product");
    Plan plan{
        Description(made), describe(problem.a, problem), describe(problem.b, problem), describe(problem.c, problem), {},
        epilogue};
    set(lt.desc_set, made, CUBLASLT_MATMUL_DESC_TRANSA, problem.trans_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(lt.desc_set, made, CUBLASLT_MATMUL_DESC_TRANSB, problem.trans_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(lt.desc_set, made, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
    if (epilogue != CUBLASLT_EPILOGUE_DEFAULT) set(lt.desc_set, made, CUBLASLT_MATMUL_DESC_BIAS_POINTER, vector);
    return plan;
  }

  // Nothing where there is no algorithm.
  std::optional<Choice> choose(const Problem& problem, const Plan& plan, const void* vector) {
    const Problem larger = in_steps(problem);
    const std::pair key(larger, plan.epilogue);
    auto known = choices_.find(key);
    if (known == choices_.end())
      known = choices_.emplace(key, ask(larger, describe_all(larger, plan.epilogue, vector))).first;
    if (larger == problem) return known->second;
    const std::optional<Choice> fewer = known->second ? for_fewer_rows(*known->second, plan) : std::nullopt;
    return fewer ? fewer : ask(problem, plan);
  }

  // It need not take fewer rows than it was chosen for.
  std::optional<Choice> for_fewer_rows(const Choice& choice, const Plan& plan) const {
    cublasLtMatmulHeuristicResult_t result{};
    const cublasStatus_t status =
        cublas_lt().algorithm_check(handle_, plan.description.get(), plan.b.get(), plan.a.get(), plan.c.get(),
                                    plan.c.get(), &choice.algorithm, &result);
    if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > most_workspace) return {};
    return Choice{choice.algorithm, result.workspaceSize};
  }

  std::optional<Choice> ask(const Problem& problem, const Plan& plan) const {
    const CublasLt& lt = cublas_lt();
    cublasLtMatmulPreference_t made = nullptr;
    check(lt.preference_create(&made), "describing a product");
    const Preference preference(made);
    set(lt.preference_set, made, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t{most_workspace});
    set(lt.preference_set, made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem.b.alignment);
    set(lt.preference_set, made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem.a.alignment);
    set(lt.preference_set, made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem.c.alignment);
    set(lt.preference_set, made, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem.c.alignment);
    cublasLtMatmulHeuristicResult_t found{};
    int count = 0;
    const cublasStatus_t status = lt.heuristic(handle_, plan.description.get(), plan.b.get(), plan.a.get(),
                                               plan.c.get(), plan.c.get(), made, 1, &found, &count);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || (status == CUBLAS_STATUS_SUCCESS && count == 0)) return {};
    if (plan.epilogue != CUBLASLT_EPILOGUE_DEFAULT && status != CUBLAS_STATUS_SUCCESS)
      return {};  // it is tried without
    check(status, "choosing an algorithm");
    if (found.state != CUBLAS_STATUS_SUCCESS) return {};
    return Choice{found.algo, found.workspaceSize};
  }

  std::mutex mutex_;  // also of the plans' descriptions, which hold the bias of one call
  std::map<Problem, Plan> plans_;
  std::map<std::pair<Problem, cublasLtEpilogue_t>, std::optional<Choice>> choices_;
  cublasLtHandle_t handle_ = nullptr;
  Workspace workspace_, workspace_beside_;
};

cublasComputeType_t compute_type(MatmulPrecision precision) {
  switch (precision) {
    case MatmulPrecision::f32:
      return CUBLAS_COMPUTE_32F;
    case MatmulPrecision::tf32:
      return CUBLAS_COMPUTE_32F_FAST_TF32;
    case MatmulPrecision::bf16:
      return CUBLAS_COMPUTE_32F_FAST_16BF;
    case MatmulPrecision::bf16x3:
    case MatmulPrecision::bf16x6:
      break;
  }
  fail("CUDA has no {} products", name_of(precision));
}

// One epilogue at most. cublasLt's sums of an operand's columns overwrite what there is.
template <class T>
cublasLtEpilogue_t epilogue_for(const GemmCall<T>& g) {
  if (g.bias) return CUBLASLT_EPILOGUE_BIAS;
  return g.a_sums && g.beta_sums == 0 ? CUBLASLT_EPILOGUE_BGRADB : CUBLASLT_EPILOGUE_DEFAULT;
}

template <class T>
Problem problem_of(const GemmCall<T>& g) {
  constexpr bool is_f64 = std::is_same_v<T, double>;
  // Strides that are not used must not tell equal problems apart.
  const auto stored = [&](const T* p, bool transposed, int64_t rows, int64_t cols, int64_t leading, int64_t stride) {
    return Stored{transposed ? cols : rows, transposed ? rows : cols, leading, g.batch > 1 ? stride : 0,
                  alignment_of(p, g.batch > 1 ? stride * static_cast<int64_t>(sizeof(T)) : 0)};
  };
  return {.type = is_f64 ? CUDA_R_64F : CUDA_R_32F,
          .compute = is_f64 ? CUBLAS_COMPUTE_64F : compute_type(g.precision),
          .trans_a = g.trans_a,
          .trans_b = g.trans_b,
          .batch = g.batch,
          .a = stored(g.a, g.trans_a, g.m, g.k, g.lda, g.stride_a),
          .b = stored(g.b, g.trans_b, g.k, g.n, g.ldb, g.stride_b),
          .c = stored(g.c, false, g.m, g.n, g.ldc, g.stride_c),
          .epilogue = epilogue_for(g),
          .vector_alignment = g.bias     ? alignment_of(g.bias)
                              : g.a_sums ? alignment_of(g.a_sums)
                                         : 0};
}

// With leading dimensions. Of a batch as large as it may be.
template <class T>
cublasLtEpilogue_t multiply(const GemmCall<T>& g) {
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  for (int64_t first = 0; first < g.batch; first += most_products) {
    GemmCall<T> some = g;
    some.batch = std::min(most_products, g.batch - first);
    if (g.batch > most_products) some.bias = nullptr;  // two parts of the batch may differ in what they add
    some.a += first * g.stride_a;
    some.b += first * g.stride_b;
    some.c += first * g.stride_c;
    epilogue = Products::the().multiply(problem_of(some), some);
  }
  return epilogue;
}

template <class T>
void gemm(const GemmCall<T>& call) {
  GemmCall<T> g = call;
  if (g.lda == 0) g.lda = g.trans_a ? g.m : g.k;
  if (g.ldb == 0) g.ldb = g.trans_b ? g.k : g.n;
  if (g.ldc == 0) g.ldc = g.n;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  if (g.batch > 0 && g.m > 0 && g.n > 0) {
    if (g.k > 0) epilogue = multiply(g);
    finish_product(g, g.k > 0, epilogue == CUBLASLT_EPILOGUE_BIAS);
  }
  if (g.a_sums && epilogue != CUBLASLT_EPILOGUE_BGRADB) column_sum(g.k, g.m, g.a, g.lda, g.a_sums, g.beta_sums);
  if (g.sum_squares) sum_squares<T>({g.batch, g.m, g.n, g.c, g.stride_c}, g.sum_squares);
}

}  // namespace

void fill_gemm(Tables& tables) {
  for_types(tables, []<class T>(Kernels<T>& table) {
    table.gemm = gemm<T>;
    table.sum_squares = sum_squares<T>;
  });
}

}  // namespace crisp::CRISP_CUDA_NAMESPACE
