// cpp_consumer BASE: fine-tunes a step on a model and asks the result.
#include <crisp/crisp.hpp>

#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 2) return 90;
  crisp::FineTuner::Options options;
  options.max_steps = 1;
  crisp::FineTuner tuner(argv[1], {{"a moving film", 1}, {"a dull plot", 0}}, options);
  tuner.run();
  const crisp::Classifier model = tuner.classifier();
  const auto gradients = model.gradients("a moving film", crisp::Classifier::Objective::loss(1), {"classifier.bias"});
  // Of a softmax of two labels the gradients of the biases are opposite.
  const auto& bias = gradients.parameters.at("classifier.bias").values;
  return bias[0] > 0 && bias[0] + bias[1] < 1e-6 && bias[0] + bias[1] > -1e-6 ? 0 : 91;
} catch (const crisp::Error& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
