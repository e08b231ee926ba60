// model [--write FILE | --against FILE] DIRECTORY: what a host program does with a model, in memory alone: the files
// are read here, before the library has a part in it. With FILE the answers are written for another build of this
// program, or compared with its.
#include <cmath>
#include <crisp/crisp.hpp>
#include <sstream>

#include "tests/wasm/answers.h"

using namespace crisp::test;

int main(int argc, char** argv) {
  return run_checks(
      argc, argv, [](const std::vector<std::string>& arguments, crisp::test::Answers& answers, const auto& report) {
        if (arguments.size() != 1) throw crisp::Error("usage: model [--write FILE | --against FILE] DIRECTORY");
        crisp::ModelFiles files;
        for (const char* name : {"model.safetensors", "config.json", "vocab.txt", "tokenizer_config.json"}) {
          std::ifstream file(arguments[0] + "/" + name, std::ios::binary);
          std::ostringstream content;
          content << file.rdbuf();
          files[name] = content.str();
          report(name, files[name].empty() ? "cannot be read" : "");
        }
        constexpr double tolerance = 1e-5;
        const std::string text = "A slow start; but what an ending\xe2\x80\xa6 caf\xc3\xa9!";

        // The sample is a pretrained encoder: a new head makes a classifier of it, which goes through memory once more.
        crisp::FineTuner::Options options;
        options.max_steps = 2;
        options.batch_size = 2;
        options.learning_rate = 1e-3;
        crisp::FineTuner tuner(crisp::ModelSource::memory(files), {{"a moving film", 1}, {"a dull plot", 0}}, options);
        const crisp::ModelFiles untrained = tuner.save_to_memory();
        const crisp::Classifier model(crisp::ModelSource::memory(untrained));
        const auto answer = model.predict_one(text);
        fmt::print("predicts {} ({:.4f})\n", answer.label_name, answer.score());
        report("prediction", answers.take("logits", answer.logits, tolerance));

        // The loss of one label, differentiated with respect to one parameter.
        const std::string parameter = "distilbert.transformer.layer.1.attention.q_lin.weight";
        const auto gradients = model.gradients(text, crisp::Classifier::Objective::loss(1), {parameter});
        const std::vector<double>& gradient = gradients.parameters.at(parameter).values;
        double squares = 0;
        for (const double g : gradient) squares += g * g;
        fmt::print("loss {:.6f}, its gradient of {} numbers has the norm {:.6f}\n", gradients.value, gradient.size(),
                   std::sqrt(squares));
        report("gradient", squares > 0 ? "" : "is 0");
        report("gradient", answers.take("loss", {gradients.value}, tolerance));
        report("gradient", answers.take(parameter, gradient, tolerance));
        report("gradient", answers.take("tokens", gradients.tokens.values, tolerance));

        std::vector<double> losses;
        while (!tuner.finished()) losses.push_back(tuner.step().loss);
        fmt::print("two steps of training: losses {:.6f}, {:.6f}\n", losses.at(0), losses.at(1));
        report("training", losses[1] < losses[0] ? "" : "the loss does not fall");
        report("training", answers.take("losses", losses, tolerance));
      });
}
