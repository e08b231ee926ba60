// crisp/crisp.h: fine-tuning.
#include "train/door/c_handles.h"

using crisp::FineTuner;
using namespace crisp::door;

namespace {

std::vector<FineTuner::Example> examples_of(const crisp_example* examples, size_t count) {
  if (count > 0) not_null(examples, "examples");
  std::vector<FineTuner::Example> all;
  for (size_t i = 0; i < count; ++i) all.push_back({not_null(examples[i].text, "a text"), examples[i].label});
  return all;
}

crisp_step c_step(const FineTuner::Step& s) {
  return {s.step, s.total_steps, s.epoch, s.loss, s.grad_norm, s.learning_rate};
}

crisp_evaluation c_evaluation(const FineTuner::Evaluation& e) { return {e.step, e.correct, e.total, e.loss}; }

class CallingObserver : public FineTuner::Observer {
 public:
  CallingObserver(crisp_on_step step, crisp_on_evaluation evaluation, void* user)
      : step_(step), evaluation_(evaluation), user_(user) {}
  bool on_step(const FineTuner::Step& s) override {
    const crisp_step step = c_step(s);
    return !step_ || step_(user_, &step) == 0;
  }
  bool on_evaluation(const FineTuner::Evaluation& e) override {
    const crisp_evaluation evaluation = c_evaluation(e);
    return !evaluation_ || evaluation_(user_, &evaluation) == 0;
  }

 private:
  const crisp_on_step step_;
  const crisp_on_evaluation evaluation_;
  void* const user_;
};

int make(crisp_context* context, const auto& source, const crisp_example* train, size_t train_count,
         const crisp_example* evaluation, size_t evaluation_count, crisp_tuner** tuner) {
  return with(context, [&] {
    not_null(tuner, "tuner");
    FineTuner made(source(), examples_of(train, train_count), examples_of(evaluation, evaluation_count),
                   context->options);
    *tuner = make_handle<crisp_tuner>(context->allocator, std::move(made));
  });
}

}  // namespace

int crisp_tuner_new(crisp_context* context, const char* path, const crisp_example* train, size_t train_count,
                    const crisp_example* evaluation, size_t evaluation_count, crisp_tuner** tuner) {
  const auto source = [&] { return crisp::ModelSource(not_null(path, "path")); };
  return make(context, source, train, train_count, evaluation, evaluation_count, tuner);
}

int crisp_tuner_new_memory(crisp_context* context, const crisp_file* files, size_t file_count,
                           const crisp_example* train, size_t train_count, const crisp_example* evaluation,
                           size_t evaluation_count, crisp_tuner** tuner) {
  const auto source = [&] { return source_of(files, file_count); };
  return make(context, source, train, train_count, evaluation, evaluation_count, tuner);
}

int crisp_tuner_new_callback(crisp_context* context, crisp_read read, void* user, const crisp_example* train,
                             size_t train_count, const crisp_example* evaluation, size_t evaluation_count,
                             crisp_tuner** tuner) {
  const auto source = [&] { return source_of(read, user); };
  return make(context, source, train, train_count, evaluation, evaluation_count, tuner);
}

void crisp_tuner_free(crisp_tuner* tuner) { free_handle(tuner); }

const char* crisp_tuner_error(const crisp_tuner* tuner) { return tuner ? tuner->failures.last() : ""; }

int crisp_tuner_step(crisp_tuner* tuner, crisp_step* step) {
  return with(tuner, [&] {
    const crisp_step done = c_step(tuner->tuner.step());
    if (step) *step = done;
  });
}

int crisp_tuner_run(crisp_tuner* tuner, crisp_on_step on_step, crisp_on_evaluation on_evaluation, void* user) {
  return with(tuner, [&] {
    CallingObserver observer(on_step, on_evaluation, user);
    if (!tuner->tuner.run(observer)) throw Stopped{"the training was stopped by a function of the caller's"};
  });
}

int crisp_tuner_next(crisp_tuner* tuner, int* event, crisp_step* step, crisp_evaluation* evaluation) {
  // Stops at the first thing that it is told of.
  struct First : FineTuner::Observer {
    bool on_step(const FineTuner::Step& s) override {
      step = c_step(s);
      event = CRISP_EVENT_STEP;
      return false;
    }
    bool on_evaluation(const FineTuner::Evaluation& e) override {
      evaluation = c_evaluation(e);
      event = CRISP_EVENT_EVALUATION;
      return false;
    }
    int event = CRISP_EVENT_END;
    crisp_step step{};
    crisp_evaluation evaluation{};
  };
  return with(tuner, [&] {
    not_null(event, "event");
    First first;
    tuner->tuner.run(first);
    *event = first.event;
    if (step && first.event == CRISP_EVENT_STEP) *step = first.step;
    if (evaluation && first.event == CRISP_EVENT_EVALUATION) *evaluation = first.evaluation;
  });
}

int crisp_tuner_finished(const crisp_tuner* tuner, int* finished) {
  return with(tuner, [&] { *not_null(finished, "finished") = tuner->tuner.finished(); });
}

int crisp_tuner_evaluate(crisp_tuner* tuner, const crisp_example* examples, size_t count,
                         crisp_evaluation* evaluation) {
  return with(tuner, [&] {
    not_null(evaluation, "evaluation");
    *evaluation = c_evaluation(tuner->tuner.evaluate(examples_of(examples, count)));
  });
}

int crisp_tuner_model(crisp_tuner* tuner, crisp_model** model) {
  return with(tuner, [&] {
    not_null(model, "model");
    crisp::Classifier classifier = tuner->tuner.classifier();
    *model = make_handle<crisp_model>(tuner->allocator, std::move(classifier));
  });
}

int crisp_tuner_save(crisp_tuner* tuner, const char* directory, int replace) {
  return with(tuner, [&] { tuner->tuner.save(not_null(directory, "directory"), replace != 0); });
}

int crisp_tuner_save_memory(crisp_tuner* tuner, crisp_files** files) {
  return with(tuner, [&] {
    not_null(files, "files");
    const crisp::ModelFiles all = tuner->tuner.save_to_memory();
    Result result(tuner->allocator);
    result.lay_out([&](Result& r) {
      auto* head = r.room<crisp_files>(1);
      auto* list = r.room<crisp_file>(all.size());
      size_t i = 0;
      for (const auto& [name, content] : all) {
        const char* its_name = r.text(name);
        const char* data = r.text(content);
        if (list) list[i++] = {its_name, data, content.size()};
      }
      if (head) *head = {all.size(), list};
    });
    *files = static_cast<crisp_files*>(result.hand_over());
  });
}
