// The proof of derivatives in a model: lines through its parameters, what the backward pass says along them, and what
// the values say.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/line_proof.h"
#include "tools/inspect/pattern.h"

namespace crisp::inspect {

/// One element of a parameter.
struct Element {
  Tensor tensor;
  std::string name;   // of the tensor, as in the file
  int64_t index = 0;  // flat
  /// "layer.2.ffn.lin1.weight[1,3]"
  std::string str() const;
};

/// A parameter's name, or an end of it that no other has ("ffn.lin1.weight" has six, "layer.2.ffn.lin1.weight" one).
/// Throws UsageError with the nearest name.
const Parameter& find_parameter(const DistilBert& model, const std::string& name);
/// "NAME[i,j]": the element; or "NAME": `index` is -1.
Element find_element(const DistilBert& model, const std::string& text);
/// `count` elements by chance: of tensors by chance, or of `tensor` alone; in tables of embeddings of the rows that the
/// text uses, since all others have the derivative 0.
std::vector<Element> random_elements(const Subject& subject, int64_t count, uint64_t seed);
std::vector<Element> random_elements_of(const Subject& subject, const Parameter& parameter, int64_t count,
                                        uint64_t seed);

/// A line through the current weights.
class Line {
 public:
  explicit Line(const Element& element);
  /// A random direction of unit length through the parameters, which are f64.
  Line(std::string name, const std::vector<Parameter>& parameters, uint64_t seed);

  const std::string& name() const { return name_; }
  /// Moves the weights to distance t from where they were when the line was made.
  void move(double t);
  /// The gradients that the parameters have now, along the line.
  double derivative() const;

 private:
  struct Part {
    Tensor tensor;
    int64_t first;  // flat index of the elements that are moved
    Tensor moved;   // those elements
    std::vector<double> base, direction;
  };
  std::string name_;
  std::vector<Part> parts_;
};

/// Where, along a line, the computation becomes another one.
struct Crossing {
  double at = 0;  // distance; the two sides are within `width` of it
  double width = 0;
  std::vector<Flip> flips;       // from the side of 0 to the other
  double jump = 0;               // of the value
  double before = 0, after = 0;  // the derivatives by the backward pass, on the side of 0 and on the other
};

struct DerivativeProof {
  std::string name;
  LineProof proof;
  double limit = 0;                 // steps up to here stay on one side; infinity: all that were tried
  std::vector<Crossing> crossings;  // the nearest on each side, if they are nearer than the largest step
  /// Whether there were steps enough on this side of the nearest crossing.
  bool decided() const { return proof.numeric_step > 0; }
  /// The derivatives agree, and the remainder's slope, where it could be measured, is 2 or more, within 0.05.
  bool passes(double tolerance) const;
};

struct ProofOptions {
  double largest = 0.25, smallest = 1e-9;
  bool crossings = false;  // look at both sides of them
};

/// The derivative along the line, by one backward pass and by values. The weights are as before afterwards.
DerivativeProof prove(const Subject& subject, Line& line, const ProofOptions& options);
/// d objective / d line by one backward pass at the weights as they are now.
double analytic_derivative(const Subject& subject, const Line& line);

}  // namespace crisp::inspect
